"""Hair as a shell around the skull: strands run from the crown to the hairline and, in long styles, hang down."""

from dataclasses import dataclass

import numpy as np

from datasets.faces import head
from datasets.faces.head import smoothstep
from datasets.faces.raster import grid_triangles

PARTING = 18.0  # degrees of longitude of the parting at hair_part = 1
COLUMNS, SKULL_ROWS, HANG_ROWS = 72, 20, 9
ROWS = SKULL_ROWS + HANG_ROWS
LONGITUDE = np.linspace(-np.pi, np.pi, COLUMNS)
TRIANGLES = grid_triangles(ROWS, COLUMNS)
_COLUMN = head.column_of(LONGITUDE)
_HANG_FROM = 0.16  # chart height at which long hair leaves the head

# The end of the hair as (|longitude| in degrees, q): temples, sideburn, above the ear, nape.
HAIRLINE = (
    (0, 0.70),
    (22, 0.70),
    (38, 0.63),
    (50, 0.46),
    (60, 0.22),
    (70, -0.04),
    (78, -0.16),
    (84, 0.02),
    (100, 0.08),
    (114, -0.25),
    (128, -0.75),
    (180, -0.95),
)


@dataclass(frozen=True)
class Style:
    """A hair style: the thickness of the shell on top, at the sides and at the back, and the ends of the strands."""

    top: float
    sides: float
    back: float
    drop: float = 0.0  # y at which long strands end; 0 for short hair
    fringe: float = 0.0  # distance by which the front covers the forehead
    sweep: float = 0.0  # slope of the fringe to one side
    curl: float = 0.0  # amplitude of the curls
    open_at: float = 62.0  # |longitude| from which long hair hangs down, in degrees
    recede: float = 0.0  # distance by which the hairline is moved back
    parted: float = 0.0  # slope of the hairline on both sides of a parting
    comb: float = 0.0  # angle by which strands turn sideways on their way to the front, in radians


STYLES = {
    "buzz": Style(0.022, 0.018, 0.020),
    "short": Style(0.085, 0.045, 0.06, fringe=0.03, comb=2.0),
    "side_part": Style(0.13, 0.05, 0.06, sweep=0.06, parted=0.35, comb=3.0),
    "fringe": Style(0.11, 0.065, 0.08, fringe=0.30, sweep=0.05),
    "swept_back": Style(0.13, 0.05, 0.08, recede=0.03),
    "curly": Style(0.17, 0.10, 0.12, curl=0.040, fringe=0.10),
    "afro": Style(0.32, 0.26, 0.28, curl=0.030),
    "bob": Style(0.10, 0.10, 0.12, drop=-0.85, parted=0.8, comb=1.0),
    "long": Style(0.09, 0.085, 0.11, drop=-1.7, parted=1.0),
    "long_fringe": Style(0.10, 0.10, 0.12, drop=-1.5, fringe=0.30),
    "bun": Style(0.045, 0.035, 0.05, recede=0.02),
}
BUN_ROWS, BUN_COLUMNS = 10, 16
BUN_TRIANGLES = grid_triangles(BUN_ROWS, BUN_COLUMNS)


def hairline(style, identity):
    """Compute the chart height q of the end of the hair at each longitude: float [columns]."""
    knots, heights = np.array(HAIRLINE, dtype=float).T
    degrees = np.rad2deg(np.abs(LONGITUDE))
    end = np.interp(degrees, knots, heights)
    front = smoothstep(-degrees, -62.0, -30.0)
    lean = np.clip(identity.hair_part * np.rad2deg(LONGITUDE) / 45.0, -1.0, 1.0)
    end = end + front * (0.045 * identity.hairline + style.recede - style.fringe - style.sweep * (0.5 + lean))
    from_parting = np.abs(np.rad2deg(LONGITUDE) - PARTING * identity.hair_part)
    end = end + style.parted * front * (0.09 - 0.34 * (from_parting / 50.0) ** 1.5)
    # Receding temples: hair recedes first on both sides of the forelock.
    temples = np.exp(-(((degrees - 38.0) / 14.0) ** 2))
    return end + 0.07 * temples * max(identity.hairline, 0.0) * (style.fringe < 0.2)


def front(end):
    """Return the hairline at the front of the head as (p, q), for painting the roots."""
    face = np.abs(LONGITUDE) < np.pi / 2
    return 0.76 * np.sin(LONGITUDE[face]), end[face]


def shell(vertices, identity):
    """Build the shell of hair over the vertices of a head, [rows, columns, 3].

    Returns:
        Vertices float32 [ROWS, COLUMNS, 3], and the position along the strand float32 [ROWS, COLUMNS], from 0 at the
        crown to 1 at the tip of long hair.
    """
    style = STYLES[identity.hair_style]
    volume = 1.0 + 0.18 * identity.hair_volume
    end = hairline(style, identity)
    degrees = np.rad2deg(np.abs(LONGITUDE))
    hangs = smoothstep(degrees, style.open_at - 4, style.open_at + 6) if style.drop else 0.0 * degrees
    end = end + hangs * (np.maximum(end, _HANG_FROM) - end)

    s = np.linspace(0.0, 1.0, SKULL_ROWS)[:, None] ** 1.35  # dense at the crown, where the skull is round
    q = head.CROWN_Q + (end[None, :] - head.CROWN_Q) * s  # [rows, columns]
    row = head.row_of(q)
    base = head.sample(vertices, row, np.broadcast_to(_COLUMN, row.shape))
    outward = base - np.array([0.0, 0.15, -0.02])
    outward = outward / np.linalg.norm(outward, axis=-1, keepdims=True)
    cos = np.cos(LONGITUDE)[None, :]
    low = smoothstep(-q, -0.85, -0.25)  # 0 at the crown, 1 at the ears' height
    thick = style.top * (1 - low) + low * np.where(
        cos > 0,
        style.sides + (style.top - style.sides) * np.clip(cos, 0, 1) ** 2,
        style.sides + (style.back - style.sides) * -cos,
    )
    thick = thick * (
        1.0 + 0.35 * (style.sweep > 0) * np.tanh(2.5 * (identity.hair_part * LONGITUDE[None, :])) * np.clip(cos, 0, 1)
    )
    if style.parted:
        groove = np.exp(-(((np.rad2deg(LONGITUDE)[None, :] - PARTING * identity.hair_part) / 9.0) ** 2))
        thick = thick * (1.0 - 0.45 * groove * smoothstep(s, 0.1, 0.4))
    if style.curl:
        thick = thick + style.curl * _curls(s, identity.texture_seed)
    # A fringe ends in a thick edge, and hair that is combed back rises slowly from the forehead.
    rise = 0.22 + (0.50 * np.clip(cos, 0, 1) ** 2 if style.fringe < 0.2 else 0.0)
    tuck = np.clip((1.0 - s) / rise, 0.0, 1.0) ** (0.5 if style.fringe > 0.2 else 0.7)
    thick = volume * thick * (tuck + (1 - tuck) * hangs) - 0.012 * (1 - hangs) * (s > 0.999)
    on_head = base + outward * thick[..., None]

    t = np.linspace(0.0, 1.0, HANG_ROWS + 1)[1:, None]
    tip = on_head[-1]
    depth = style.drop + 0.35 * (0.5 - identity.hair_length) - tip[:, 1] if style.drop else 0.0 * tip[:, 1]
    y = tip[None, :, 1] + hangs * depth * t
    wave = 1.0 + hangs * (0.10 * np.sin(np.pi * np.minimum(t * 1.2, 1.0)) - 0.14 * t**2)
    ripple = 0.02 * hangs * np.sin(9.0 * t + 3.0 * LONGITUDE) * t
    x = tip[None, :, 0] * wave + ripple
    z = tip[None, :, 2] * wave - 0.06 * hangs * t
    hanging = np.stack([x, y, z], -1)
    along = np.concatenate([0.6 * s + 0 * q, 0.6 + 0.4 * t + 0 * y])
    return np.concatenate([on_head, hanging]).astype(np.float32), along.astype(np.float32)


def _curls(s, seed):
    """Compute the relief of curls, [rows, columns], at positions `s` along the strands."""
    phase = np.random.Generator(np.random.PCG64(seed)).uniform(0, 2 * np.pi, 6)
    lon = LONGITUDE[None, :]
    return sum(np.sin((7 + 2 * k) * lon + (9 + 3 * k) * s * (1 if k % 2 else -1) + phase[k]) for k in range(6)) / 2.2


def bun(identity):
    """Build a bun behind the top of the head: float32 [rows, columns, 3]."""
    a = np.linspace(np.pi / 2, -np.pi / 2, BUN_ROWS)[:, None]
    b = np.linspace(-np.pi, np.pi, BUN_COLUMNS)[None, :]
    size = 0.26 + 0.04 * identity.hair_volume
    x, y, z = size * 1.1 * np.cos(a) * np.sin(b), size * 0.9 * np.sin(a) + 0 * b, size * np.cos(a) * np.cos(b)
    return (np.stack([x, y, z], -1) + np.array([0.0, 1.18, -0.30])).astype(np.float32)
