"""Glasses: one plane for the lenses and one for each arm, which are intersected exactly with the ray of each pixel."""

from dataclasses import dataclass

import numpy as np

from datasets.faces import eyes, head, labels
from datasets.faces.shading import linear

# {shape: (half width, half height, exponent of the superellipse)} of a lens.
LENSES = {"round": (0.235, 0.215, 2.0), "square": (0.255, 0.180, 4.5), "wide": (0.275, 0.190, 2.8)}
GAP = 0.165  # distance of the lens plane from the surface of the eyes
DROP = 0.035  # distance of the lens centre below the axis of the eye
ARM_HALF_HEIGHT = 0.022


@dataclass
class Glasses:
    """The geometry of glasses in the head's frame."""

    centre: np.ndarray  # |x| and y of the centre of a lens
    z: float
    half: tuple
    power: float
    rim: float
    hinge: float
    temple: float  # |x| at the ear

    def rim_distance(self, x, y):
        """Approximate the distance from the outer edge of the nearer lens, positive inside and exact near the rim."""
        a, b = (np.abs(x) - self.centre[0]) / self.half[0], (y - self.centre[1]) / self.half[1]
        radius = (np.abs(a) ** self.power + np.abs(b) ** self.power + 1e-9) ** (1 / self.power)
        return (1.0 - radius) * min(self.half)

    def coverage(self, x, y, pixel):
        """Compute the coverage of points in the lens plane by the frame and by the lenses, both in [0, 1]."""
        inside = self.rim_distance(x, y)
        frame = np.clip((inside + self.rim) / pixel + 0.5, 0, 1) * np.clip(-inside / pixel + 0.5, 0, 1)
        bridge_y = self.centre[1] + 0.30 * self.half[1] + 0.020 * np.cos(np.clip(x / 0.1, -1.5, 1.5))
        bridge = np.clip((0.8 * self.rim - np.abs(y - bridge_y)) / pixel + 0.5, 0, 1) * (
            np.abs(x) < self.centre[0] - 0.80 * self.half[0]
        )
        bridge = bridge * (inside < 0)
        return np.maximum(frame, bridge), np.clip(inside / pixel + 0.5, 0, 1)


def fit(vertices, identity):
    """Fit glasses to the vertices of a head, which include its expression."""
    eye = eyes.centres(vertices)
    w, h, power = LENSES[identity.glasses]
    surface_z = eye[:, 2].mean() + head.EYEBALL_DEPTH
    nose = head.sample(vertices, *head.chart_to_grid(np.zeros(1), np.array([-0.06])))[0, 2]
    z = max(surface_z + GAP, nose + 0.015)
    side = head.sample(vertices, np.array([head.row_of(0.02)]), np.array([head.column_of(np.deg2rad(88.0))]))[0, 0]
    x = 0.5 * (np.abs(eye[:, 0]).mean() + 0.33)
    rim = 0.012 + 0.020 * identity.frame_width
    return Glasses(
        np.array([x, eye[:, 1].mean() - DROP]), z, (w, h), power, rim, x + w + 0.5 * rim, max(side + 0.02, x + w)
    )


def shadow(glasses, points, light, soft=0.03):
    """Compute the fraction of light that passes the frame: [m] for points [m, 3]; `light` is in the head's frame."""
    if light[2] < 0.2:
        return np.ones(len(points), np.float32)
    t = (glasses.z - points[:, 2]) / light[2]
    hit = points[:, :2] + t[:, None] * light[:2]
    frame, _ = glasses.coverage(hit[:, 0], hit[:, 1], soft)
    return 1.0 - 0.45 * frame * (t > 0)


def paint(image, depth, label, glasses, pose, identity, nuisance):
    """Draw frame, arms and lenses in place.

    Args:
        image: Linear light [S, S, 3].
        depth: Depth in the view's frame, [S, S], -inf on the background.
        label: Label ids [S, S].
        glasses: The geometry of the glasses.
        pose: The pose of the head.
        identity, nuisance: The person and the conditions.
    """
    size = image.shape[0]
    pixel = 1.0 / (size * pose.scale)
    x = pose.middle[0] + (np.arange(size) + 0.5 - size / 2) * pixel
    y = pose.middle[1] - (np.arange(size) + 0.5 - size / 2) * pixel
    centre = pose.rotation @ np.array([0.0, glasses.centre[1], glasses.z])
    ear = pose.rotation @ np.array([0.0, glasses.centre[1], 0.0])
    band = np.flatnonzero((y < max(centre[1], ear[1]) + 0.42) & (y > min(centre[1], ear[1]) - 0.42))
    if not len(band):
        return
    rows = slice(band[0], band[-1] + 1)
    rays = np.stack(np.broadcast_arrays(x[None, :], y[rows, None]), -1)  # [h, S, 2]
    origin = rays @ pose.rotation[:2]  # rotation^T @ (x, y, 0): [h, S, 3]
    forward = pose.rotation[2]  # rotation^T @ (0, 0, 1)
    picture, deep, ids = image[rows], depth[rows], label[rows]
    metal = linear(identity.frame)
    light = max(0.25, float(nuisance.light[1]) * 0.5 + 0.5) * nuisance.light_strength + nuisance.ambient

    for side in (-1, 1):
        slope = (glasses.temple - glasses.hinge) / glasses.z  # increase of the arm's |x| per unit of depth
        toward = side * forward[0] + slope * forward[2]
        if abs(toward) < 0.03:
            continue
        t = (glasses.temple - (side * origin[..., 0] + slope * origin[..., 2])) / toward
        z, h = origin[..., 2] + t * forward[2], origin[..., 1] + t * forward[1]
        edge = np.minimum(
            ARM_HALF_HEIGHT + 0.4 * glasses.rim - np.abs(h - glasses.centre[1] - 0.45 * glasses.half[1]),
            np.minimum(z + 0.02, glasses.z - z),
        )
        cover = np.clip(edge / pixel + 0.5, 0, 1) * (t > deep - 0.01)
        _blend(picture, ids, cover, metal * light * 0.8)

    t = (glasses.z - origin[..., 2]) / forward[2]
    frame, lens = glasses.coverage(origin[..., 0] + t * forward[0], origin[..., 1] + t * forward[1], pixel)
    visible = t > deep
    glare = 0.018 * nuisance.light_strength * np.clip(1.0 - (origin[..., 1] - glasses.centre[1]) / 0.25, 0.2, 1.5)
    tint = (lens * visible)[..., None]
    picture += tint * (glare[..., None] - 0.06 * picture)
    facing = np.isin(ids, (labels.ID["skin"], labels.ID["nose"])) & (lens * visible > 0.5)
    ids[facing] = labels.ID["eye_g"]
    _blend(picture, ids, frame * visible, metal * light)


def _blend(picture, ids, cover, colour):
    """Blend a colour over light [h, S, 3] by coverage [h, S], and set the label of pixels that are mostly covered."""
    picture += cover[..., None] * (colour.astype(np.float32) - picture)
    ids[cover > 0.5] = labels.ID["eye_g"]
