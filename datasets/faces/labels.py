"""Label ids of CelebAMask-HQ (Lee et al. 2020), the 68 iBUG landmarks and the attributes of a rendered face.

The prefixes l_ and r_ denote the left and the right half of a frontal image, as seen by the viewer; landmarks 36 to 41
are on l_eye. A part keeps its name when the head turns.
"""

import numpy as np

from datasets.faces import head

LABELS = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
ID = {name: i for i, name in enumerate(LABELS)}


def lower_lid(s):
    """Return the height of the lower lid over the axis of the eye; s is -1 at the inner corner and 1 at the outer."""
    return -0.050 * np.clip(1.0 - np.abs(s) ** 2.2, 0.0, 1.0) ** 0.9 * (1.0 + 0.12 * s) + 0.008 * s


def upper_lid(s, eye_open):
    """Return the height of the upper lid over the axis of the eye, which is that of the lower lid in a shut eye."""
    wide = 0.074 * np.clip(1.0 - np.abs(s) ** 2.3, 0.0, 1.0) ** 0.85 * (1.0 - 0.10 * s) + 0.008 * s
    low = lower_lid(s)
    return low + (wide - low) * eye_open


def upper_lip(p):
    """Return the chart height of the upper edge of the lips, a bow with a dip in the middle."""
    s = np.abs(p) / head.MOUTH_HALF_WIDTH
    bow = np.clip(1.0 - s**1.5, 0.0, 1.0) * (1.0 - 0.22 * np.exp(-((s / 0.13) ** 2)))
    return head.MOUTH_Q + head.MOUTH_BAND + 0.066 * bow


def lower_lip(p):
    """Return the chart height of the lower edge of the lips."""
    s = np.abs(p) / head.MOUTH_HALF_WIDTH
    return head.MOUTH_Q - head.MOUTH_BAND - 0.084 * np.clip(1.0 - s**2.4, 0.0, 1.0) ** 0.8


def brow_line(p, identity):
    """Return the chart height of the middle of the brow at |p|, and the position along it, from 0 (nose) to 1."""
    a = (np.abs(p) - 0.115) / 0.40
    arch = np.sin(np.pi * np.clip(a, 0.0, 1.0) ** 1.25) * (0.040 + 0.014 * identity.brow_arch)
    return 0.170 + arch + 0.012 * identity.brow_tilt * (a - 0.4), a


def _chart_points(identity, nuisance):
    """Return the chart coordinates p and q of the 51 inner landmarks (17 to 67), [51] each."""
    p, q = [], []

    def add(ps, qs):
        p.extend(np.atleast_1d(ps).tolist())
        q.extend(np.atleast_1d(qs).tolist())

    a = np.linspace(0.0, 1.0, 5)
    brow_p = 0.115 + 0.40 * a
    brow_q = brow_line(brow_p, identity)[0] + 0.012
    add(-brow_p[::-1], brow_q[::-1])
    add(brow_p, brow_q)
    add([0, 0, 0, 0], [-0.02, -0.14, -0.26, -0.375])
    add([-0.135, -0.07, 0, 0.07, 0.135], [-0.465, -0.485, -0.495, -0.485, -0.465])
    s = np.array([-1.0, -0.38, 0.38, 1.0])
    mid = head.EYE_P + head.EYE_HALF_WIDTH * s
    up = head.EYE_Q + upper_lid(s, nuisance.eye_open)
    low = head.EYE_Q + lower_lid(s)
    add(-mid[[3, 2, 1, 0, 1, 2]], [up[3], up[2], up[1], up[0], low[1], low[2]])
    add(mid[[0, 1, 2, 3, 2, 1]], [up[0], up[1], up[2], up[3], low[2], low[1]])
    outer = np.array([-1.0, -0.62, -0.22, 0.0, 0.22, 0.62, 1.0]) * head.MOUTH_HALF_WIDTH
    add(outer, [head.MOUTH_Q, *upper_lip(outer[1:-1]), head.MOUTH_Q])
    add(outer[-2:0:-1], lower_lip(outer[-2:0:-1]))
    inner = np.array([-0.88, -0.30, 0.0, 0.30, 0.88]) * head.MOUTH_HALF_WIDTH
    band = 0.98 * head.MOUTH_BAND
    add(inner, head.MOUTH_Q + band * np.array([0, 1, 1, 1, 0]))
    add(inner[3:0:-1], [head.MOUTH_Q - band] * 3)
    return np.array(p), np.array(q)


# The points on the edge of the face from the ear to the chin, as (longitude in degrees, q); the others mirror them.
_EDGE = (
    (88, -0.05),
    (88, -0.24),
    (86, -0.44),
    (82, -0.68),
    (76, -1.00),
    (56, -1.12),
    (36, -1.12),
    (17, -1.12),
    (0, -1.12),
)
EDGE_LONGITUDE = np.deg2rad([-a for a, _ in _EDGE] + [a for a, _ in _EDGE[-2::-1]])
EDGE_Q = np.array([q for _, q in _EDGE] + [q for _, q in _EDGE[-2::-1]])


def landmarks(vertices, identity, nuisance):
    """Compute the 68 landmarks in the head's frame, float64 [68, 3], as points of the surface."""
    row, column = head.chart_to_grid(*_chart_points(identity, nuisance))
    row = np.concatenate([head.row_of(EDGE_Q), row])
    column = np.concatenate([head.column_of(EDGE_LONGITUDE), column])
    return head.sample(vertices, row, column)


def true_attributes(identity, nuisance):
    """Derive {attribute: bool} from the true parameters of a face."""
    return {
        "glasses": identity.glasses != "none",
        "beard": identity.beard in ("goatee", "full"),
        "moustache": identity.beard in ("moustache", "goatee", "full"),
        "bald": identity.hair_style == "bald",
        "long_hair": identity.hair_style in ("bob", "long", "long_fringe"),
        "fringe": identity.hair_style in ("fringe", "long_fringe"),
        "dark_hair": identity.dark_hair and identity.hair_style != "bald",
        "smile": nuisance.smile > 0.35,
        "open_mouth": nuisance.open_mouth > 0.2 or nuisance.teeth > 0.3,
        "eyes_closed": nuisance.eye_open < 0.2,
        "dark_skin": bool(np.dot(identity.skin, (0.299, 0.587, 0.114)) < 0.45),
        "wide_face": identity.shape.get("face_width", 0.0) > 0.8,
    }
