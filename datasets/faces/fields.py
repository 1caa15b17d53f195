"""Displacement fields of the head, which turn the template into a face, into one person's face, and into an expression.

Each field is (dx, dy, dz) per unit of weight, as arrays over the head's grid. The weights of identity are standard
normal, so the factors here are one standard deviation of the population. The weights of expressions run from 0 to 1.
"""

import numpy as np
from numpy.typing import ArrayLike

from datasets.faces.head import (
    CHART_P,
    CHART_Q,
    CHIN_Q,
    EYE_P,
    EYE_Q,
    MOUTH_BAND,
    MOUTH_HALF_WIDTH,
    MOUTH_Q,
    VERTICES,
    away,
    both,
    bump,
    smoothstep,
)

P, Q = CHART_P, CHART_Q
X, Y, Z = np.moveaxis(VERTICES, -1, 0)
FRONT = np.clip(Z / 0.5, 0.0, 1.0)  # 1 on the face, 0 behind the ears
SIDE = np.sign(X)


def _nose(q):
    """Return the height and the half width of the ridge of the nose at chart heights q."""
    knots = np.array([0.12, 0.06, 0.0, -0.1, -0.2, -0.3, -0.36, -0.40, -0.43, -0.46, -0.49, -0.52])
    height = np.array([0.0, 0.012, 0.03, 0.072, 0.118, 0.165, 0.192, 0.190, 0.155, 0.085, 0.022, 0.0])
    width = np.array([0.09, 0.085, 0.080, 0.086, 0.096, 0.106, 0.112, 0.114, 0.112, 0.105, 0.10, 0.10])
    return np.interp(-q, -knots, height), np.interp(-q, -knots, width)


NOSE_HEIGHT, NOSE_WIDTH = _nose(Q)
RIDGE = NOSE_HEIGHT * np.exp(-(np.abs(P / NOSE_WIDTH) ** 2.0))
JAW = smoothstep(-Q, 0.45, 1.1) * smoothstep(Z, -0.35, 0.35)  # weight with which points follow the opening jaw


def _template_face():
    """Return the depth [rows, columns] that turns the smooth template into a face."""
    return (
        RIDGE
        + 0.095 * both(0.115, -0.425, 0.058, 0.050)  # wings of the nose
        - 0.120 * both(EYE_P - 0.03, 0.035, 0.170, 0.115)  # sockets
        + 0.050 * both(EYE_P, EYE_Q - 0.005, 0.125, 0.075)  # lids over the eyeballs
        + 0.028 * both(0.24, 0.185, 0.19, 0.060)  # brow ridge
        + 0.030 * both(0.43, -0.20, 0.17, 0.14)  # cheekbones
        + 0.015 * both(0.42, -0.60, 0.20, 0.22)  # flesh between cheekbone and jaw
        + 0.045 * bump(0, -0.68, 0.23, 0.17)  # mound of the teeth
        + 0.034 * bump(0, -0.655, 0.17, 0.034)  # lips
        + 0.040 * bump(0, -0.760, 0.15, 0.042)
        - 0.030 * both(MOUTH_HALF_WIDTH + 0.005, MOUTH_Q, 0.045, 0.05)  # corners of the mouth
        - 0.014 * bump(0, -0.565, 0.030, 0.050)  # philtrum
        - 0.045 * bump(0, -0.875, 0.19, 0.055)  # fold over the chin
        + 0.055 * bump(0, -1.02, 0.19, 0.095)  # chin
    )


def _slit(q):
    """Return +1 above the slit of the mouth and -1 below it, linear in between."""
    return np.clip((q - MOUTH_Q) / MOUTH_BAND, -1.0, 1.0)


def _open_mouth():
    """Return the field that lowers the jaw and opens the lips."""
    across = np.sqrt(np.clip(1.0 - (P / MOUTH_HALF_WIDTH) ** 2, 0.0, 1.0)) * FRONT
    lower = (_slit(Q) < 0) * np.exp(-(((MOUTH_Q - Q) / 0.30) ** 2)) * across
    upper = (_slit(Q) > 0) * np.exp(-(((Q - MOUTH_Q) / 0.10) ** 2)) * across
    drop = 0.16 * JAW + 0.15 * lower - 0.018 * upper
    return 0 * P, -drop, -0.05 * JAW - 0.03 * lower


def _smile():
    """Return the field that raises the corners of the mouth and the cheeks."""
    corner = both(0.27, MOUTH_Q + 0.01, 0.12, 0.11)
    cheek = both(0.36, -0.36, 0.14, 0.12)
    dx = 0.060 * away(0.27, MOUTH_Q + 0.01, 0.13, 0.12) + 0.018 * away(0.13, -0.44, 0.07, 0.07)
    dy = 0.070 * corner + 0.025 * cheek - 0.012 * bump(0, -0.68, 0.15, 0.10)
    dz = -0.040 * corner + 0.035 * cheek - 0.022 * bump(0, -0.70, 0.22, 0.11) - 0.022 * both(0.235, -0.56, 0.035, 0.09)
    return dx, dy, dz


def _teeth():
    """Return the field that parts the lips, as in a smile that shows the teeth."""
    across = np.clip(1.0 - (P / MOUTH_HALF_WIDTH) ** 2, 0.0, 1.0) ** 0.6 * FRONT
    upper = (_slit(Q) > 0) * np.exp(-(((Q - MOUTH_Q) / 0.09) ** 2)) * across
    lower = (_slit(Q) < 0) * np.exp(-(((Q - MOUTH_Q) / 0.16) ** 2)) * across
    return 0 * P, 0.042 * upper - 0.050 * lower, 0 * P


def _brow_raise():
    return 0 * P, 0.075 * both(0.30, 0.20, 0.24, 0.13), 0 * P


def _frown():
    return (
        -0.030 * away(0.14, 0.17, 0.10, 0.09),
        -0.030 * both(0.16, 0.17, 0.12, 0.09),
        0.012 * bump(0, 0.17, 0.06, 0.07),
    )


def _pucker():
    return -0.075 * away(0.25, MOUTH_Q, 0.13, 0.11), 0 * P, 0.045 * bump(0, MOUTH_Q, 0.14, 0.12)


def level(q0, sq):
    """Return a belt around the head at chart height q0.

    Fields of width scale x by belts, because a bump at the side would leave a step behind the jaw.
    """
    return np.exp(-(((Q - q0) / sq) ** 2))


def _move(dx: ArrayLike = 0.0, dy: ArrayLike = 0.0, dz: ArrayLike = 0.0) -> tuple[np.ndarray, ...]:
    return tuple(np.broadcast_to(d, P.shape) for d in (dx, dy, dz))


LOWER_FACE = smoothstep(-Q, -0.05, 1.0)
SKULL = smoothstep(Q, 0.15, 0.9)
JAW_ANGLE = np.exp(-(((np.abs(P) - 0.56) / 0.22) ** 2) - ((Q + 0.95) / 0.38) ** 2)
CHIN_EDGE = np.exp(-((P / 0.26) ** 2) - ((Q - CHIN_Q + 0.05) / 0.22) ** 2)
UNDER = smoothstep(-Q, 1.10, 1.35)
NOSE_ZONE = np.exp(-((P / 0.20) ** 4)) * smoothstep(-Q, -0.10, 0.35) * smoothstep(Q, -0.62, -0.46)
EYE_BUMP = both(EYE_P, EYE_Q, 0.19, 0.12)
EYE_LOCAL_P = (np.abs(P) - EYE_P) * SIDE * EYE_BUMP
EYE_ZONE = both(EYE_P, EYE_Q + 0.03, 0.26, 0.16)

SHAPE = {
    "face_width": _move(dx=0.050 * X),
    "face_length": _move(dy=0.042 * (Y + 0.0) * (0.35 + 0.65 * LOWER_FACE)),
    "jaw_width": _move(dx=0.080 * X * LOWER_FACE),
    "jaw_square": _move(dx=0.030 * X * smoothstep(-Q, 0.5, 1.1), dy=-0.012 * JAW_ANGLE),
    "chin_length": _move(dy=-0.055 * CHIN_EDGE - 0.035 * LOWER_FACE * FRONT * smoothstep(-Q, 0.75, 1.1)),
    "chin_width": _move(dx=0.24 * P * CHIN_EDGE * FRONT, dz=0.02 * both(0.13, -1.03, 0.10, 0.10)),
    "chin_forward": _move(dz=0.045 * bump(0, -1.02, 0.26, 0.16) + 0.012 * LOWER_FACE * FRONT),
    "cheekbones": _move(dx=0.032 * X * level(-0.20, 0.26), dz=0.016 * both(0.42, -0.18, 0.20, 0.16)),
    "cheek_fullness": _move(dx=0.040 * X * level(-0.64, 0.36), dz=0.020 * both(0.38, -0.55, 0.22, 0.24)),
    "forehead_height": _move(dy=0.050 * SKULL),
    "forehead_slope": _move(dz=0.045 * bump(0, 0.62, 0.55, 0.28)),
    "temple_width": _move(dx=0.042 * X * level(0.30, 0.32)),
    "brow_ridge": _move(dz=0.026 * both(0.22, 0.16, 0.20, 0.075)),
    "brow_height": _move(dy=0.024 * both(0.28, 0.18, 0.26, 0.09)),
    "eye_size": _move(dx=0.11 * EYE_LOCAL_P, dy=0.13 * (Q - EYE_Q) * EYE_BUMP),
    "eye_opening": _move(dy=0.16 * (Q - EYE_Q) * EYE_BUMP),
    "eye_spacing": _move(dx=0.020 * away(EYE_P, EYE_Q + 0.04, 0.24, 0.22)),
    "eye_tilt": _move(dy=0.13 * (np.abs(P) - EYE_P) * EYE_BUMP),
    "eye_depth": _move(dz=-0.026 * EYE_ZONE),
    "nose_length": _move(dy=-0.028 * NOSE_ZONE * smoothstep(-Q, 0.05, 0.40)),
    "nose_width": _move(dx=0.024 * away(0.125, -0.42, 0.085, 0.085), dz=0.010 * both(0.12, -0.42, 0.06, 0.06)),
    "bridge_width": _move(dx=0.17 * P * bump(0, -0.10, 0.13, 0.22)),
    "bridge_height": _move(dz=0.024 * bump(0, -0.02, 0.085, 0.13) + 0.012 * bump(0, -0.15, 0.09, 0.16)),
    "nose_projection": _move(dz=0.15 * RIDGE),
    "nose_hump": _move(dz=0.020 * bump(0, -0.16, 0.07, 0.085)),
    "tip_up": _move(dy=0.028 * bump(0, -0.40, 0.13, 0.08)),
    "tip_width": _move(dx=0.20 * P * bump(0, -0.37, 0.10, 0.075), dz=0.014 * both(0.05, -0.38, 0.05, 0.055)),
    "mouth_width": _move(dx=0.026 * away(0.25, MOUTH_Q, 0.14, 0.13)),
    "mouth_height": _move(dy=0.020 * bump(0, MOUTH_Q, 0.36, 0.15)),
    "upper_lip": _move(dy=0.018 * bump(0, -0.625, 0.24, 0.048), dz=0.012 * bump(0, -0.655, 0.20, 0.04)),
    "lower_lip": _move(dy=-0.022 * bump(0, -0.80, 0.22, 0.055), dz=0.013 * bump(0, -0.76, 0.20, 0.05)),
    "mouth_curve": _move(dy=0.014 * both(0.26, MOUTH_Q, 0.09, 0.10)),
    "jowls": _move(dy=-0.012 * both(0.36, -1.05, 0.16, 0.20) - 0.02 * UNDER * FRONT, dx=0.020 * X * level(-0.98, 0.28)),
}

EXPRESSION = {
    "smile": _smile(),
    "open_mouth": _open_mouth(),
    "teeth": _teeth(),
    "brow_raise": _brow_raise(),
    "frown": _frown(),
    "pucker": _pucker(),
    # The volume of a beard is not an expression, but displaces the skin in the same way.
    "beard_volume": _move(
        dz=0.05 * smoothstep(-Q, 0.72, 1.0) * FRONT, dy=-0.05 * CHIN_EDGE, dx=0.03 * SIDE * JAW_ANGLE
    ),
}

NAMES = (*SHAPE, *EXPRESSION)
TEMPLATE = VERTICES + np.stack([0 * P, 0 * P, _template_face() * smoothstep(Z, 0.0, 0.3)], -1)
TEMPLATE = TEMPLATE.astype(np.float32)
_FIELDS = {**SHAPE, **EXPRESSION}
BASIS = np.stack([np.stack(_FIELDS[name], -1).reshape(-1) for name in NAMES]).astype(np.float32)  # [K, rows*columns*3]


def vertices(weights):
    """Compute the vertices of a head.

    Args:
        weights: {name of a field: weight}; absent fields have weight 0.

    Returns:
        float32 [rows, columns, 3] in the head's frame.
    """
    w = np.array([weights.get(name, 0.0) for name in NAMES], dtype=np.float32)
    return TEMPLATE + (w @ BASIS).reshape(TEMPLATE.shape)
