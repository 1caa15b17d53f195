"""The texture of the head: complexion, lips, mouth, brows and beard, all drawn in the chart (p, q)."""

import numpy as np

from datasets.faces import head, labels
from datasets.faces.head import both, bump, saturate, smoothstep
from datasets.faces.shading import MOTTLE, SPECKS, STRANDS, linear, look_up, mix

ID = labels.ID
LIP_RED = linear((0.72, 0.22, 0.24))
_NOSE_Q = np.array([-0.50, -0.47, -0.42, -0.36, -0.25, -0.10, 0.03, 0.06])
_NOSE_P = np.array([0.02, 0.15, 0.185, 0.165, 0.115, 0.085, 0.06, 0.0])
_CHEEK_P = np.array([0.0, 0.12, 0.22, 0.30, 0.40, 0.52, 0.62, 0.72, 0.80])
_CHEEK_Q = np.array([-0.545, -0.54, -0.56, -0.64, -0.62, -0.50, -0.34, -0.08, 0.05])  # upper edge of a full beard


def _edge(distance, pixel):
    """Return the coverage of a region from the signed distance to its border, positive inside, with a soft border."""
    return saturate(distance * (1.0 / pixel) + 0.5)


def complexion(p, q, identity, pixel):
    """Compute albedo [M, 3] and gloss [M] of bare skin."""
    base = linear(identity.skin)
    seed = identity.texture_seed
    flush = (
        0.9 * both(0.36, -0.30, 0.20, 0.18, p, q)
        + 0.7 * bump(0, -0.40, 0.13, 0.09, p, q)
        + 0.4 * bump(0, -1.02, 0.2, 0.12, p, q)
    )
    flush = flush * 0.9 + 0.10 * look_up(MOTTLE, p * 0.35 + seed * 0.013, q * 0.35)
    albedo = base * (1.0 + flush[:, None] * np.array([0.02, -0.13, -0.14], np.float32))
    tired = both(0.29, -0.115, 0.13, 0.05, p, q) * (0.10 + 0.14 * identity.age) + 0.16 * both(
        0.31, 0.075, 0.15, 0.05, p, q
    )
    albedo *= 1.0 - tired[:, None] * np.array([0.75, 1.0, 0.95], np.float32)
    if identity.freckles > 0 and pixel < 0.03:
        spots = smoothstep(look_up(SPECKS, p * 0.8 + seed * 0.017, q * 0.8), 0.9, 1.7)
        where = both(0.30, -0.22, 0.24, 0.16, p, q) + bump(0, -0.2, 0.2, 0.14, p, q)
        albedo *= 1.0 - (0.55 * identity.freckles * spots * np.clip(where, 0, 1))[:, None] * np.array(
            [0.55, 0.85, 1.0], np.float32
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    for mp, mq, size in rng.uniform((-0.55, -1.0, 0.010), (0.55, 0.5, 0.020), (int(seed % 3 == 0) * 2, 3)):
        near = (np.abs(p - mp) < 0.05) & (np.abs(q - mq) < 0.05)
        albedo[near] *= 1.0 - 0.6 * bump(mp, mq, size, size, p[near], q[near])[:, None]
    gloss = (
        0.5
        + 0.6 * bump(0, -0.2, 0.12, 0.3, p, q)
        + 0.35 * bump(0, 0.45, 0.4, 0.22, p, q)
        + 0.2 * bump(0, -1.02, 0.15, 0.1, p, q)
    )
    return albedo, gloss


def wrinkles(p, q, identity, nuisance):
    """Compute the factor [M] by which folds beside the mouth, on the forehead and between the brows darken skin."""
    smile = max(nuisance.smile, 0.0)
    t = (-0.42 - q) / 0.34
    fold = (
        np.exp(-(((np.abs(p) - (0.19 + 0.15 * np.clip(t, 0, 1) ** 0.8)) / 0.020) ** 2))
        * smoothstep(t, -0.1, 0.25)
        * smoothstep(-t, -1.05, -0.6)
    )
    dark = fold * (0.06 + 0.26 * identity.age + 0.26 * smile)
    lines = np.exp(-(((np.mod(q - 0.40, 0.13) - 0.065) / 0.014) ** 2)) * bump(0, 0.52, 0.42, 0.17, p, q)
    dark = dark + lines * (0.30 * max(identity.age - 0.35, 0.0) + 0.22 * max(nuisance.brow_raise, 0.0))
    glabella = np.exp(-(((np.abs(p) - 0.045) / 0.014) ** 2)) * bump(0, 0.15, 0.2, 0.07, p, q)
    return 1.0 - dark - 0.35 * glabella * nuisance.frown


def nose(p, q, albedo, label):
    """Label the nose and darken the nostrils in place."""
    inside = (np.abs(p) < np.interp(q, _NOSE_Q, _NOSE_P)) & (q > _NOSE_Q[0]) & (q < _NOSE_Q[-1])
    label[inside] = ID["nose"]
    near = np.flatnonzero((np.abs(p) < 0.22) & (q < -0.38) & (q > -0.56))
    holes = both(0.066, -0.468, 0.036, 0.020, p[near], q[near])
    wing = np.exp(-(((np.abs(p[near]) - 0.185) / 0.018) ** 2) - ((q[near] + 0.44) / 0.05) ** 2)
    albedo[near] *= (1.0 - 0.85 * np.clip(1.35 * holes, 0, 1) - 0.30 * wing)[:, None]


def lips(p, q, albedo, gloss, label, identity, pixel):
    """Paint the lips in place."""
    near = np.flatnonzero((np.abs(p) < 0.30) & (q > -0.84) & (q < -0.58))
    lp, lq = p[near], q[near]
    top, low = labels.upper_lip(lp), labels.lower_lip(lp)
    ends = head.MOUTH_HALF_WIDTH - np.abs(lp)
    blur = max(pixel, 0.012)
    inside = _edge(top - lq, blur) * _edge(lq - low, blur) * _edge(ends, 2 * blur)
    red = (0.30 + 0.55 * identity.lip) * inside
    colour = linear(identity.skin) * np.array([0.86, 0.52, 0.50], np.float32) * (
        1 - 0.5 * identity.lip
    ) + 0.5 * identity.lip * LIP_RED * (0.35 + 0.65 * linear(identity.skin)[0])
    grain = 1.0 + 0.05 * look_up(STRANDS, lp * 1.1, lq * 0.4)
    albedo[near] = mix(albedo[near], colour * grain[:, None], np.clip(red * 1.15, 0, 1))
    upper = lq > head.MOUTH_Q
    albedo[near] *= (1.0 - 0.12 * inside * upper)[:, None]
    gloss[near] += inside * (0.9 + 1.2 * identity.lip) * ~upper
    is_lip = (lq < top) & (lq > low) & (ends > 0)
    label[near[is_lip & upper]] = ID["u_lip"]
    label[near[is_lip & ~upper]] = ID["l_lip"]


def mouth(p, q, albedo, gloss, label, opening):
    """Paint the mouth between the lips in place, as a dark line if it is closed, else with teeth and tongue.

    Args:
        p, q: Chart coordinates of the pixels, [M].
        albedo, gloss, label: [M, 3], [M] and [M], which are changed.
        opening: Distance between the lips in the middle of the mouth.
    """
    near = np.flatnonzero((np.abs(q - head.MOUTH_Q) < head.MOUTH_BAND) & (np.abs(p) < head.MOUTH_HALF_WIDTH))
    mp = p[near]
    across = np.sqrt(np.clip(1.0 - (mp / head.MOUTH_HALF_WIDTH) ** 2, 0.0, 1.0))
    t = (q[near] - head.MOUTH_Q) / head.MOUTH_BAND  # -1 lower lip .. 1 upper lip
    inside = np.abs(t) < across
    if opening < 0.035:
        albedo[near] *= (1.0 - (0.62 * np.exp(-((t / 0.75) ** 2)) * across))[:, None]
        return
    below = (1 - t) / 2 * opening  # distance below the upper lip, scaled to the middle of the mouth
    above = opening - below
    arch = np.clip(1.0 - (mp / 0.24) ** 4, 0.0, 1.0)
    upper_teeth = _edge(0.075 * (0.75 + 0.25 * arch) - below, 0.008) * (np.abs(mp) < 0.22)
    lower_teeth = _edge(0.030 - above, 0.008) * (np.abs(mp) < 0.16) * (opening > 0.12)
    gaps = 1.0 - 0.22 * np.exp(-(((np.mod(mp, 0.072) - 0.036) / 0.006) ** 2))
    depth = np.clip(below / 0.05, 0.35, 1.0)
    tooth = np.array([0.78, 0.74, 0.66], np.float32) * (gaps * (0.35 + 0.65 * arch) * (0.55 + 0.45 * depth))[:, None]
    tongue = smoothstep(-above, -0.16, -0.03) * np.clip(1.0 - (mp / 0.17) ** 2, 0.0, 1.0)
    cavity = mix(
        np.full((len(near), 3), 0.012, np.float32) * np.array([1.6, 0.7, 0.7], np.float32),
        np.array([0.25, 0.07, 0.07], np.float32),
        tongue,
    )
    colour = mix(cavity, tooth, np.clip(upper_teeth + 0.8 * lower_teeth, 0.0, 1.0))
    albedo[near] = mix(albedo[near], colour, _edge(across - np.abs(t), 0.25))
    gloss[near[inside]] = 0.25
    label[near[inside]] = ID["mouth"]


def brows(p, q, albedo, label, identity, pixel):
    """Paint the brows in place."""
    near = np.flatnonzero((np.abs(p) > 0.06) & (np.abs(p) < 0.58) & (q > 0.05) & (q < 0.36))
    bp, bq = p[near], q[near]
    line, a = labels.brow_line(bp, identity)
    half = 0.031 * (1.0 + 0.30 * identity.brow_thickness) * np.clip(1.25 - 0.95 * np.clip(a, 0, 1) ** 1.6, 0.1, 1.0)
    half = half * smoothstep(a, -0.10, 0.10)
    hairs = look_up(STRANDS, (bp * np.sign(bp) * 1.0 - bq * 0.8) * 0.9, (bq * 0.6 + np.abs(bp) * 0.3) * 0.5)
    inside = half - np.abs(bq - line)
    soft = np.maximum(pixel, 0.020)
    cover = _edge(inside, soft) * smoothstep(a, -0.06, 0.05) * smoothstep(-a, -1.04, -0.92)
    cover = cover * np.clip(identity.brow_density + 0.08 * hairs, 0.0, 1.0)
    colour = linear(identity.hair)
    colour = np.minimum(colour * 0.75, 0.16 + 0.25 * colour) * (0.5 + 0.5 * linear(identity.skin)[0])
    albedo[near] = mix(albedo[near], colour, cover)
    is_brow = (inside > 0) & (a > -0.03) & (a < 0.98)
    label[near[is_brow]] = np.where(bp[is_brow] < 0, ID["l_brow"], ID["r_brow"])


def beard(p, q, albedo, gloss, identity):
    """Paint the beard in place."""
    if identity.beard == "none":
        return
    near = np.flatnonzero((q < 0.05) & (np.abs(p) < 0.95))
    bp, bq, ap = p[near], q[near], np.abs(p[near])
    moustache = (
        smoothstep(0.30 - ap, 0.0, 0.07)
        * smoothstep(-bq, 0.515, 0.56)
        * smoothstep(bq, -0.72 - 0.1 * (ap > 0.25), -0.64)
    )
    goatee = smoothstep(0.27 - ap, 0.0, 0.06) * smoothstep(-bq, 0.80, 0.86) * (bq > -1.4) + smoothstep(
        0.06 - np.abs(ap - 0.29), 0.0, 0.05
    ) * smoothstep(-bq, 0.60, 0.68) * smoothstep(bq, -1.1, -0.9)
    full = smoothstep(np.interp(ap, _CHEEK_P, _CHEEK_Q) - bq, -0.02, 0.07) * smoothstep(-ap, -0.92, -0.80)
    on_lips = np.minimum(labels.upper_lip(bp) + 0.010 - bq, bq - labels.lower_lip(bp) + 0.012)
    lips_free = 1.0 - smoothstep(on_lips, -0.012, 0.006) * (ap < 0.27)
    area = {"moustache": moustache, "goatee": np.maximum(moustache, goatee), "full": full, "stubble": full}[
        identity.beard
    ]
    strands = look_up(STRANDS, bp * 0.9, bq * 0.22)
    cover = np.clip(area, 0, 1) * lips_free
    colour = linear(identity.hair) * (0.9 + 0.12 * np.clip(strands, -1.5, 1.5))[:, None]
    if identity.beard == "stubble":
        grain = look_up(SPECKS, bp * 1.6, bq * 1.6)
        cover = cover * (0.22 + 0.25 * identity.beard_length + 0.06 * grain)
    else:
        cover = cover * np.clip(0.90 + 0.12 * strands, 0.0, 1.0)
    albedo[near] = mix(albedo[near], colour, cover)
    gloss[near] *= 1.0 - 0.85 * cover


def scalp(p, q, albedo, gloss, identity, line):
    """Paint the roots of the hair in place, so that the hair fades into the skin at the hairline `line`, (p, q)."""
    near = np.flatnonzero(q > -0.3)
    over = (
        q[near] - np.interp(p[near], *line).astype(np.float32) + 0.022 * look_up(STRANDS, p[near] * 0.9, q[near] * 0.2)
    )
    cover = smoothstep(over, -0.06, 0.03) * 0.75
    albedo[near] = mix(albedo[near], linear(identity.hair), cover)
    gloss[near] *= 1 - cover
