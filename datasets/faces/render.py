"""Deferred shading of a face, from the G-buffer to the image and its ground truth."""

from dataclasses import dataclass

import numpy as np

from datasets.faces import eyes, glasses, hair, head, labels, scene, shading, skin
from datasets.faces.identity import Identity, Nuisance
from datasets.faces.shading import STRANDS, linear, look_up

SUPERSAMPLE = 2
FINE_STRANDS = 0.015  # largest size of a pixel in 10 cm that resolves single strands; larger pixels would alias
ID = labels.ID


@dataclass
class Sample:
    """A rendered face and its ground truth."""

    image: np.ndarray  # float32 [3, R, R] in [-1, 1]
    label_map: np.ndarray  # uint8 [R, R], CelebAMask-HQ's ids
    landmarks: np.ndarray  # float32 [68, 2], pixels (x, y)
    pose: tuple  # yaw, pitch, roll in degrees
    attributes: dict  # name -> bool
    identity: Identity
    nuisance: Nuisance


def _hair_colour(part, identity, nuisance, pixel):
    """Compute albedo [m, 3] and sheen [m, 3] of hair.

    `part.a` is the longitude of the strand, and `part.b` the position along it.
    """
    a, b = part.a, part.b
    style = hair.STYLES[identity.hair_style]
    # Combed hair leaves the parting sideways, so the texture turns around the crown towards the front.
    a = a + style.comb * identity.hair_part * b * b * np.maximum(np.cos(a), 0)
    seed = identity.texture_seed * 0.0137
    locks = look_up(STRANDS, a * 0.26 + seed, b * 0.12)
    tone = 1.0 + 0.20 * np.clip(locks, -2, 2)
    if pixel < FINE_STRANDS:
        tone += 0.14 * np.clip(look_up(STRANDS, a * 1.1 + 0.05 * locks + seed, b * 0.3), -2, 2)
    albedo = linear(identity.hair) * np.clip(tone, 0.3, 1.8)[:, None]
    shine = (
        shading.strand_sheen(part.tangent, nuisance, 0.06 * locks + 0.12)
        * np.maximum(part.normal[:, 2], 0)
        * part.shadow
    )
    colour = 0.35 * linear(identity.hair) + 0.04
    return albedo, (0.55 if identity.hair_style not in ("afro", "curly") else 0.25) * shine[:, None] * colour


def _face(part, pose, vertices, identity, nuisance, pixel):
    """Compute light [m, 3] and labels [m] of the surface of the head."""
    p, q = part.a, part.b
    albedo, gloss = skin.complexion(p, q, identity, pixel)
    albedo *= skin.wrinkles(p, q, identity, nuisance)[:, None]
    ids = np.full(len(p), ID["skin"], np.uint8)
    skin.nose(p, q, albedo, ids)
    if identity.hair_style != "bald":
        end = hair.hairline(hair.STYLES[identity.hair_style], identity)
        skin.scalp(p, q, albedo, gloss, identity, hair.front(end))
    skin.beard(p, q, albedo, gloss, identity)
    skin.lips(p, q, albedo, gloss, ids, identity, pixel)
    skin.mouth(p, q, albedo, gloss, ids, _mouth_opening(vertices))
    skin.brows(p, q, albedo, ids, identity, pixel)
    eyes.paint(part, p, q, albedo, gloss, ids, vertices, pose.rotation, identity, nuisance, pixel)
    if identity.glasses != "none":
        points = part.position @ pose.rotation.astype(np.float32)
        part.shadow *= glasses.shadow(
            glasses.fit(vertices, identity), points, pose.rotation.T @ np.asarray(nuisance.light)
        )
    light = albedo * shading.matte(part, nuisance, shading.SKIN_WRAP)
    shine = gloss * (0.10 * shading.sheen(part.normal, nuisance, 14) + 0.05 * shading.sheen(part.normal, nuisance, 50))
    shine *= part.shadow * part.occlusion
    eye = np.flatnonzero((ids == ID["l_eye"]) | (ids == ID["r_eye"]))
    shine[eye] += 0.9 * np.minimum(shading.sheen(part.normal[eye], nuisance, 90) * 1.6, 1.0) ** 3
    return light + shine[:, None], ids


def _ear(part, identity, nuisance):
    """Compute the light [m, 3] of an ear."""
    part.normal[part.normal[:, 2] < 0] *= -1.0
    albedo = linear(identity.skin) * np.array([1.0, 0.88, 0.86], np.float32)
    return albedo * shading.matte(part, nuisance, shading.SKIN_WRAP)


def _body(part, identity, nuisance):
    """Compute light [m, 3] and labels [m] of neck and clothes."""
    line = -1.22 - 0.28 * identity.neckline * np.maximum(np.cos(part.a), 0) ** 2
    cloth = part.b < line
    flesh = linear(identity.skin) * np.array([0.97, 0.92, 0.90], np.float32)
    albedo = np.where(cloth[:, None], linear(identity.cloth), flesh)
    albedo *= (1.0 - 0.35 * np.exp(-(((part.b - line) / 0.02) ** 2)))[:, None]
    return albedo * shading.matte(part, nuisance, shading.SKIN_WRAP), np.where(cloth, ID["cloth"], ID["neck"])


def _hair(part, identity, nuisance, pixel):
    """Compute the light [m, 3] of hair."""
    inner = part.normal[:, 2] < 0  # the inner side of hanging hair
    part.normal[inner] *= -1.0
    part.occlusion *= np.where(inner, 0.35, 1.0)
    albedo, shine = _hair_colour(part, identity, nuisance, pixel)
    return albedo * shading.matte(part, nuisance, shading.HAIR_WRAP) + shine * (
        ~inner[:, None] * nuisance.light_strength
    )


def _shade(surfaces, pose, vertices, identity, nuisance, pixel):
    """Compute light [M, 3] and labels uint8 [M] of the covered pixels, in the order of the parts."""
    face, face_ids = _face(surfaces[scene.HEAD], pose, vertices, identity, nuisance, pixel)
    ears = [_ear(surfaces[k], identity, nuisance) for k in (scene.LEFT_EAR, scene.RIGHT_EAR)]
    body, body_ids = _body(surfaces[scene.BODY], identity, nuisance)
    hairy = surfaces[scene.HAIR]
    strands = _hair(hairy, identity, nuisance, pixel) if len(hairy.pixel) else np.zeros((0, 3), np.float32)
    ids = [face_ids, *(np.full(len(e), ID[n]) for e, n in zip(ears, ("l_ear", "r_ear"), strict=True)), body_ids]
    ids.append(np.full(len(strands), ID["hair"]))
    return np.concatenate([face, *ears, body, strands]), np.concatenate(ids).astype(np.uint8)


def _mouth_opening(vertices):
    """Return the distance between the lips in the middle of the mouth."""
    q = head.MOUTH_Q + head.MOUTH_BAND * np.array([1.0, -1.0])
    top, low = head.sample(vertices, *head.chart_to_grid(np.zeros(2), q))
    return float(top[1] - low[1])


def _draw(identity, nuisance, resolution):
    """Render a face.

    Returns:
        The image float32 [R, R, 3] in [0, 1], supersampled labels uint8 [S, S], the pose, and the landmarks [68, 3] in
        the view's frame.
    """
    size = SUPERSAMPLE * resolution
    surfaces, pose, points, vertices = scene.capture(identity, nuisance, size)
    pixel = 1.0 / (size * pose.scale)
    light, label = _shade(surfaces, pose, vertices, identity, nuisance, pixel)
    image = shading.backdrop(nuisance, size)
    pixels = np.concatenate([s.pixel for s in surfaces])
    image.reshape(-1, 3)[pixels] = light
    ids = np.zeros(size * size, np.uint8)
    ids[pixels] = label
    ids = ids.reshape(size, size)
    if identity.glasses != "none":
        depth = np.full(size * size, -np.inf, np.float32)
        depth[pixels] = np.concatenate([s.position[:, 2] for s in surfaces])
        glasses.paint(image, depth.reshape(size, size), ids, glasses.fit(vertices, identity), pose, identity, nuisance)
    small = 0.25 * (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2])
    return shading.to_display(small), ids, pose, points


def picture(identity, nuisance, resolution):
    """Render only the image: uint8 [R, R, 3]."""
    return (_draw(identity, nuisance, resolution)[0] * 255 + 0.5).astype(np.uint8)


def render(identity, nuisance, resolution):
    """Render a face with its ground truth, as a `Sample`."""
    image, ids, pose, points = _draw(identity, nuisance, resolution)
    return Sample(
        image=np.ascontiguousarray(image.transpose(2, 0, 1)) * 2 - 1,
        label_map=_vote(ids, resolution),
        landmarks=pose.to_pixels(points, resolution)[:, :2].astype(np.float32),
        pose=(nuisance.yaw, nuisance.pitch, nuisance.roll),
        attributes=labels.true_attributes(identity, nuisance),
        identity=identity,
        nuisance=nuisance,
    )


def _vote(ids, resolution):
    """Reduce labels [2R, 2R] to [R, R] by the most frequent label of each 2x2 block."""
    block = ids.reshape(resolution, 2, resolution, 2).transpose(0, 2, 1, 3).reshape(resolution, resolution, 4)
    block = np.sort(block, axis=2)
    last_pair = (block[..., 2] == block[..., 3]) & (block[..., 0] != block[..., 1])
    return np.where(last_pair, block[..., 2], block[..., 1])
