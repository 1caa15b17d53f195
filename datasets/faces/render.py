"""Deferred shading: G-buffer -> light -> picture, with the ground truth beside it."""

from dataclasses import dataclass

import numpy as np

from datasets.faces import eyes, fields, glasses, hair, head, labels, scene, shading, skin
from datasets.faces.head import smoothstep
from datasets.faces.texture import STRANDS, linear, look_up

SUPERSAMPLE = 2
ID = labels.ID


@dataclass
class Sample:
    """A rendered face and everything that is known about it."""

    image: np.ndarray  # float32 [3, R, R] in [-1, 1]
    labels: np.ndarray  # uint8 [R, R], CelebAMask-HQ's ids
    landmarks: np.ndarray  # float32 [68, 2], pixels (x, y)
    pose: tuple  # yaw, pitch, roll in degrees
    attributes: dict  # name -> bool
    identity: object
    nuisance: object


def _hair_colour(a, b, normal, tangent, surface_shadow, identity, nuisance, pixel):
    """Albedo and sheen of hair at (longitude a, along the strand b)."""
    seed = identity.texture_seed * 0.0137
    locks = look_up(STRANDS, a * (0.32 if pixel < 0.03 else 0.20) + seed, b * 0.12)
    fine = look_up(STRANDS, a * 1.1 + 0.05 * locks + seed, b * 0.3) if pixel < 0.015 else 0.0
    tone = 1.0 + 0.20 * np.clip(locks, -2, 2) + 0.14 * np.clip(fine, -2, 2)
    albedo = linear(identity.hair) * np.clip(tone, 0.3, 1.8)[:, None]
    shine = shading.strand_sheen(tangent, nuisance, 0.06 * locks + 0.12) * np.clip(normal[:, 2], 0, 1) * surface_shadow
    colour = 0.35 * linear(identity.hair) + 0.04
    return albedo, (0.55 if identity.hair_style not in ("afro", "curly") else 0.25) * shine[:, None] * colour


def _shade(surface, pose, vertices, identity, nuisance, pixel):
    """Light [M, 3] and label uint8 [M] of the covered pixels."""
    m = len(surface.pixel)
    light = np.empty((m, 3), np.float32)
    label = np.empty(m, np.uint8)
    order = [np.flatnonzero(surface.part == k) for k in range(5)]
    back = surface.normal[:, 2] < 0
    surface.normal[back] *= -1.0

    face = order[scene.HEAD]
    p, q = surface.a[face], surface.b[face]
    part = scene.Surface(*(getattr(surface, f)[face] for f in scene.Surface.__dataclass_fields__))
    albedo, gloss = skin.complexion(p, q, identity, pixel)
    albedo *= skin.wrinkles(p, q, identity, nuisance)[:, None]
    ids = np.full(len(face), ID["skin"], np.uint8)
    skin.nose(p, q, albedo, ids)
    if identity.hair_style != "bald":
        end = hair.hairline(hair.STYLES[identity.hair_style], identity)
        skin.scalp(p, q, albedo, gloss, identity, (0.76 * np.sin(hair.LONGITUDE[20:60]), end[20:60]))
    skin.beard(p, q, albedo, gloss, identity)
    skin.lips(p, q, albedo, gloss, ids, identity, pixel)
    skin.mouth(p, q, albedo, gloss, ids, _mouth_opening(vertices), nuisance)
    skin.brows(p, q, albedo, ids, identity, pixel)
    eyes.paint(part, p, q, albedo, gloss, ids, vertices, pose.rotation, identity, nuisance, pixel)
    if identity.glasses != "none":
        frame = glasses.fit(vertices, identity)
        points = part.position @ pose.rotation.astype(np.float32)
        part.shadow *= glasses.shadow(frame, points, pose.rotation.T @ np.asarray(nuisance.light))
    light[face] = albedo * shading.matte(part, nuisance, shading.SKIN_WRAP)
    is_eye = (ids == ID["l_eye"]) | (ids == ID["r_eye"])
    shine = 0.10 * gloss * shading.sheen(part.normal, nuisance, 14.0) + 0.05 * gloss * shading.sheen(part.normal, nuisance, 50.0)
    glint = is_eye * np.clip(shading.sheen(part.normal, nuisance, 90.0) * 1.6, 0.0, 1.0) ** 3
    light[face] += (shine * part.shadow * part.occlusion + 0.9 * glint)[:, None]
    label[face] = ids

    for k, name in ((scene.LEFT_EAR, "l_ear"), (scene.RIGHT_EAR, "r_ear")):
        own = order[k]
        part = scene.Surface(*(getattr(surface, f)[own] for f in scene.Surface.__dataclass_fields__))
        albedo = linear(identity.skin) * np.array([1.0, 0.88, 0.86], np.float32)
        light[own] = albedo * shading.matte(part, nuisance, shading.SKIN_WRAP)
        label[own] = ID[name]

    own = order[scene.BODY]
    part = scene.Surface(*(getattr(surface, f)[own] for f in scene.Surface.__dataclass_fields__))
    line = -1.22 - 0.28 * identity.neckline * np.clip(np.cos(part.a), 0, 1) ** 2
    cloth = part.b < line
    albedo = np.where(cloth[:, None], linear(identity.cloth), linear(identity.skin) * np.array([0.97, 0.92, 0.90], np.float32))
    albedo = albedo * (1.0 - 0.35 * np.exp(-(((part.b - line) / 0.02) ** 2)))[:, None]
    light[own] = albedo * shading.matte(part, nuisance, shading.SKIN_WRAP)
    label[own] = np.where(cloth, ID["cloth"], ID["neck"])

    own = order[scene.HAIR]
    part = scene.Surface(*(getattr(surface, f)[own] for f in scene.Surface.__dataclass_fields__))
    albedo, shine = _hair_colour(part.a, part.b, part.normal, part.tangent, part.shadow, identity, nuisance, pixel)
    part.occlusion = part.occlusion * np.where(back[own], 0.35, 1.0)
    light[own] = albedo * shading.matte(part, nuisance, shading.HAIR_WRAP) + shine * ~back[own, None] * nuisance.light_strength
    label[own] = ID["hair"]
    return light, label


def _mouth_opening(vertices):
    q = head.MOUTH_Q + head.MOUTH_BAND * np.array([1.0, -1.0])
    top, low = head.sample(vertices, *head.chart_to_grid(np.zeros(2), q))
    return float(top[1] - low[1])


def _draw(identity, nuisance, resolution):
    """Display image float32 [R, R, 3] in [0, 1], labels at supersampled size [S, S], pose, landmarks in view."""
    size = SUPERSAMPLE * resolution
    surface, pose, points, vertices = scene.capture(identity, nuisance, size)
    pixel = 1.0 / (size * pose.scale)
    light, label = _shade(surface, pose, vertices, identity, nuisance, pixel)
    image = np.repeat(np.repeat(shading.backdrop(nuisance, resolution), SUPERSAMPLE, 0), SUPERSAMPLE, 1)
    image.reshape(-1, 3)[surface.pixel] = light
    ids = np.zeros(size * size, np.uint8)
    ids[surface.pixel] = label
    ids = ids.reshape(size, size)
    if identity.glasses != "none":
        depth = np.full(size * size, -np.inf, np.float32)
        depth[surface.pixel] = surface.position[:, 2]
        glasses.paint(image, depth.reshape(size, size), ids, glasses.fit(vertices, identity), pose, identity, nuisance)
    small = image.reshape(resolution, SUPERSAMPLE, resolution, SUPERSAMPLE, 3).mean((1, 3))
    return shading.to_display(small), ids, pose, points


def picture(identity, nuisance, resolution):
    """The image alone: uint8 [R, R, 3]."""
    return (_draw(identity, nuisance, resolution)[0] * 255 + 0.5).astype(np.uint8)


def render(identity, nuisance, resolution):
    image, ids, pose, points = _draw(identity, nuisance, resolution)
    return Sample(
        image=np.ascontiguousarray(image.transpose(2, 0, 1)) * 2 - 1,
        labels=_vote(ids, resolution),
        landmarks=pose.to_pixels(points, resolution)[:, :2].astype(np.float32),
        pose=(nuisance.yaw, nuisance.pitch, nuisance.roll),
        attributes=labels.attributes(identity, nuisance),
        identity=identity,
        nuisance=nuisance,
    )


def _vote(ids, resolution):
    """The most frequent of each 2x2 block of labels: [2R, 2R] -> [R, R]."""
    block = ids.reshape(resolution, 2, resolution, 2).transpose(0, 2, 1, 3).reshape(resolution, resolution, 4)
    block = np.sort(block, axis=2)
    last_pair = (block[..., 2] == block[..., 3]) & (block[..., 0] != block[..., 1])
    return np.where(last_pair, block[..., 2], block[..., 1])
