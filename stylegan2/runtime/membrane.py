"""Membrane interpolation: values that are known around a hole are spread smoothly into it.

The membrane is the solution of Laplace's equation in the hole with the known values at its edge. Added to a picture
that is pasted into the hole, the membrane of the difference at the edge leaves no seam (Poisson image editing, Perez et
al. 2003, eqs. 4 and 5). The solution is approximate: each level of a pyramid starts from the level of half its size,
and few steps of relaxation follow (cascadic multigrid, Bornemann and Deuflhard 1996).
"""

import numpy as np

DAMPING = 0.8  # of Jacobi's method; undamped, it keeps patterns of single pixels
FEWEST, MOST = 8, 64  # steps of relaxation at a level
PIXEL_STEPS = 4096  # steps times side of a level, between these limits: small levels are cheap and carry far


def fill_hole(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fill a hole of a picture with the membrane of the pixels around it.

    A picture can then be resized without mixing its known pixels with what the hole shows.

    Args:
        picture: uint8 [H, W, C].
        hole: bool [H, W], True where the picture is missing.

    Returns:
        uint8 [H, W, C], with the same known pixels.
    """
    if not hole.any():
        return picture
    return np.rint(membrane(picture.astype(np.float32), hole)).clip(0, 255).astype(np.uint8)


def membrane(values: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fill a hole with the membrane of the values around it.

    Args:
        values: float32 [H, W, C]; the values in the hole are ignored.
        hole: bool [H, W], True where values are missing. The membrane is level across the border of the image.

    Returns:
        float32 [H, W, C], with the same known values, and 0 if there are none.
    """
    if hole.all():
        return np.zeros_like(values)
    if not hole.any():
        return values
    coarse = membrane(*_halve(values, hole))  # [ceil(H / 2), ceil(W / 2), C]
    start = coarse.repeat(2, axis=0).repeat(2, axis=1)[: len(values), : values.shape[1]]  # [H, W, C]
    return _relax(np.where(hole[..., None], start, values), hole)


def _halve(values: np.ndarray, hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the known values of each square of 2 x 2; it is a hole where it has none.

    Returns:
        float32 [ceil(H / 2), ceil(W / 2), C] and bool [ceil(H / 2), ceil(W / 2)].
    """
    height, width = (side + side % 2 for side in hole.shape)
    known = np.zeros((height, width, 1), np.float32)
    known[: hole.shape[0], : hole.shape[1], 0] = ~hole
    padded = np.zeros((height, width, values.shape[2]), np.float32)
    padded[: hole.shape[0], : hole.shape[1]] = values
    count, total = (_sum_of_squares(part) for part in (known, padded * known))
    return total / np.maximum(count, 1), count[..., 0] == 0


def _sum_of_squares(values: np.ndarray) -> np.ndarray:
    """Add up the values [H, W, C] of each square of 2 x 2: [H / 2, W / 2, C]."""
    return values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]


def _relax(values: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Move the values [H, W, C] in a hole [H, W] towards the mean of their neighbours, several times."""
    share = DAMPING * hole[..., None].astype(np.float32)  # [H, W, 1]
    for _ in range(min(max(PIXEL_STEPS // max(hole.shape), FEWEST), MOST)):
        around = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")  # [H + 2, W + 2, C]
        mean = (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) / 4  # [H, W, C]
        values = values + share * (mean - values)
    return values
