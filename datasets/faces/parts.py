"""The meshes of the ears, the neck and the shoulders."""

import numpy as np

from datasets.faces.head import smoothstep
from datasets.faces.raster import grid_triangles

EAR_RINGS, EAR_ANGLES = 9, 22
EAR_HALF_HEIGHT, EAR_HALF_WIDTH = 0.30, 0.165
EAR_Y = -0.13
ROOT_UP = (-1.0, -0.5, 0.0, 0.5, 1.0)
EAR_FLARE, EAR_FLARE_UNDER_HAIR = np.deg2rad(27.0), np.deg2rad(4.0)
BODY_ROWS, BODY_COLUMNS = 20, 32
NECK_TOP, BODY_BOTTOM = -0.55, -2.3
NECK_Z = -0.16

EAR_TRIANGLES = grid_triangles(EAR_RINGS, EAR_ANGLES + 1)
BODY_TRIANGLES = grid_triangles(BODY_ROWS, BODY_COLUMNS)


def _ear_template():
    """Build an ear in local coordinates.

    Returns:
        The coordinates across (-1 at the front to 1 at the back) and up, and the relief, [rings, angles + 1] each.
        Rings run from the rim to the middle.
    """
    r = np.linspace(1.0, 0.0, EAR_RINGS)[:, None]
    a = np.linspace(0.0, 2 * np.pi, EAR_ANGLES + 1)[None, :]
    up = r * np.sin(a)
    across = r * np.cos(a) * (0.86 + 0.26 * up - 0.10 * up**2)
    # The rim begins at the head and surrounds the hollow; at the front, it would hide the inside of the ear.
    rim = smoothstep(across, -0.75, 0.0) + 0.5 * (up > 0.6)
    relief = 0.045 * np.minimum(rim, 1.0) * np.exp(-(((r - 0.84) / 0.13) ** 2)) - 0.055 * np.exp(
        -(((across + 0.25) / 0.5) ** 2) - ((up - 0.02) / 0.45) ** 2
    )
    relief = relief + 0.03 * np.exp(-(((r - 0.5) / 0.12) ** 2)) * (up > -0.35) * (across > -0.1)
    relief = relief - 0.10 * (r > 0.99)  # the rim bends back to the head and hides the edge
    return across, up + 0 * across, relief


EAR_ACROSS, EAR_UP, EAR_RELIEF = _ear_template()


def ear(head, side, size, flare=EAR_FLARE):
    """Build the vertices of an ear, float32 [rings, angles + 1, 3].

    Args:
        head: Half width of the head at the heights ROOT_UP of the ear, so that there is no gap between the two.
        side: -1 for the left of the image, 1 for the right.
        size: Size of the ear in standard deviations.
        flare: Angle between the ear and the head in radians.
    """
    scale = 1.0 + 0.10 * size
    root = np.interp(EAR_UP, ROOT_UP, head) - 0.03
    back = EAR_HALF_WIDTH * scale * (EAR_ACROSS + 0.92)
    out = back * np.sin(flare) + EAR_RELIEF
    x = side * (root + out)
    y = EAR_Y + EAR_HALF_HEIGHT * scale * EAR_UP
    z = -0.02 - back * np.cos(flare) - 0.12 * EAR_UP * EAR_HALF_HEIGHT
    return np.stack([x, y, z], -1).astype(np.float32)


def ear_triangles(side):
    """Return the triangles of an ear; those of the left ear have the opposite orientation, since it is mirrored."""
    return EAR_TRIANGLES if side > 0 else EAR_TRIANGLES[:, ::-1]


def _body_template():
    """Build the vertices of neck and shoulders [rows, columns, 3], and their angle and height, [rows, columns] each."""
    y = np.linspace(NECK_TOP, BODY_BOTTOM, BODY_ROWS)[:, None]
    a = np.linspace(-np.pi, np.pi, BODY_COLUMNS)[None, :]
    slope = smoothstep(-y, 1.02, 1.95)
    width = 0.46 + 0.05 * smoothstep(-y, 1.0, 1.3) + 1.25 * slope**1.3
    depth = 0.44 + 0.16 * slope
    z = NECK_Z - 0.30 * smoothstep(-y, 0.6, 1.5)
    sin, cos = np.sin(a), np.cos(a)
    cords = 0.02 * np.exp(-(((np.abs(a) - 0.45) / 0.16) ** 2)) * (1 - slope)  # the two muscles beside the throat
    body = np.stack([width * sin, y + 0 * a, z + (depth + cords) * cos], -1)
    return body, a + 0 * y, y + 0 * a


BODY, BODY_ANGLE, BODY_Y = _body_template()


def body(neck_width):
    """Build the vertices of neck and shoulders, float32 [rows, columns, 3]; `neck_width` is in standard deviations."""
    vertices = BODY.copy()
    vertices[..., 0] *= 1.0 + 0.07 * neck_width
    return vertices.astype(np.float32)
