"""Eyes: the opening between the lids is drawn in the chart, and shows a sphere that the ray of each pixel meets."""

import numpy as np

from datasets.faces import head, labels
from datasets.faces.head import smoothstep
from datasets.faces.shading import STRANDS, linear, look_up, mix

SCLERA = np.array([0.58, 0.54, 0.52], np.float32)
CARUNCLE = np.array([0.55, 0.25, 0.22], np.float32)
IRIS_ANGLE, PUPIL_ANGLE, LIMBUS = np.deg2rad(28.5), np.deg2rad(11.0), 0.18


def centres(vertices):
    """Compute the centres of both eyeballs in the head's frame, [2, 3], with the eye on the image's left first."""
    p = np.array([-head.EYE_P, head.EYE_P])
    surface = head.sample(vertices, *head.chart_to_grid(p, np.full(2, head.EYE_Q)))
    return surface - np.array([0.0, 0.0, head.EYEBALL_DEPTH])


def _gaze(nuisance):
    """Compute the unit vector of the gaze in the head's frame, [3]."""
    right, up = np.deg2rad(nuisance.gaze)
    return np.array([np.sin(right) * np.cos(up), np.sin(up), np.cos(right) * np.cos(up)])


def paint(surface, p, q, albedo, gloss, label, vertices, rotation, identity, nuisance, pixel):
    """Paint lids, lashes and eyeballs in place.

    Args:
        surface: The surface of the head, whose normals and occlusion are changed where an eye is visible.
        p, q: Chart coordinates of the pixels, [M].
        albedo, gloss, label: [M, 3], [M] and [M], which are changed where an eye is visible.
        vertices: Vertices of the head in its frame, [rows, columns, 3].
        rotation: Rotation of the head, [3, 3].
        identity, nuisance: The person and the conditions.
        pixel: Size of a pixel in the unit of the head, 10 cm.
    """
    balls = centres(vertices) @ rotation.T
    look = rotation @ _gaze(nuisance)
    for side, name, ball in ((-1, "l_eye", balls[0]), (1, "r_eye", balls[1])):
        near = np.flatnonzero((np.abs(side * p - head.EYE_P) < 0.24) & (np.abs(q) < 0.20))
        s = (side * p[near] - head.EYE_P) / head.EYE_HALF_WIDTH
        h = q[near] - head.EYE_Q
        up, low = labels.upper_lid(s, nuisance.eye_open), labels.lower_lid(s)
        _lids(near, s, h, up, low, albedo, identity, nuisance, pixel)
        inside = (h < up) & (h > low) & (np.abs(s) < 1)
        eye = near[inside]
        normal, colour = _eyeball(surface.position[eye], ball, look, identity, s[inside])
        shade = 0.42 + 0.58 * smoothstep(up[inside] - h[inside], -0.005, 0.045)
        albedo[eye] = colour * shade[:, None]
        surface.normal[eye] = normal
        surface.occlusion[eye] = 0.5 + 0.5 * surface.occlusion[eye]
        gloss[eye] = 0.0
        label[eye] = labels.ID[name]


def _lids(near, s, h, up, low, albedo, identity, nuisance, pixel):
    """Darken the pixels `near` the eye along the lashes, the lower lid and the crease above the upper lid."""
    reach = np.abs(s) < 1.12
    width = max(0.010, 0.45 * pixel)
    lash = np.exp(-(((h - up - 0.004) / (width * (1.2 + 0.5 * s))) ** 2)) * reach
    lower = np.exp(-(((h - low + 0.004) / (0.9 * width)) ** 2)) * reach
    crease = np.exp(-(((h - up - 0.042 - 0.012 * s) / 0.013) ** 2)) * smoothstep(1.1 - np.abs(s), 0.0, 0.3)
    dark = 1.0 - (0.80 * lash + 0.22 * lower + 0.34 * crease * (0.4 + 0.6 * min(nuisance.eye_open, 1.0)))
    albedo[near] *= np.clip(dark, 0.04, 1.0)[:, None]


def _eyeball(position, ball, look, identity, s):
    """Compute normals [m, 3] and colours [m, 3] of an eyeball at pixels with positions [m, 3] in the view's frame."""
    flat = (position[:, :2] - ball[:2]) / head.EYEBALL_RADIUS
    radius2 = (flat * flat).sum(1)
    flat = flat * np.minimum(1.0, 0.97 / np.sqrt(radius2 + 1e-9))[:, None]
    normal = np.concatenate([flat, np.sqrt(1.0 - (flat * flat).sum(1, keepdims=True))], 1).astype(np.float32)
    angle = np.arccos(np.clip(normal @ look.astype(np.float32), -1.0, 1.0))
    across = angle / IRIS_ANGLE
    iris = linear(identity.iris) * 1.5
    offset = normal - look.astype(np.float32)
    streak = look_up(STRANDS, np.arctan2(offset[:, 1], offset[:, 0]) / (2 * np.pi), across * 0.2)
    ring = (1.0 - 0.65 * smoothstep(across, 1 - LIMBUS * 1.6, 1.0)) * (1.15 - 0.35 * across) * (1.0 + 0.12 * streak)
    colour = np.broadcast_to(SCLERA, normal.shape)
    colour = mix(colour, CARUNCLE, 0.7 * smoothstep(-s, 0.78, 0.98))
    colour = mix(colour, iris * ring[:, None], 1.0 - smoothstep(across, 0.93, 1.07))
    colour = mix(colour, np.full(3, 0.006, np.float32), 1.0 - smoothstep(angle, PUPIL_ANGLE * 0.88, PUPIL_ANGLE * 1.12))
    return normal, colour.astype(np.float32)
