"""Tileable noise, which is computed once, and helpers for colours."""

import numpy as np

_SIZE = 256


def _tile(seed, octaves, stretch=1.0):
    """Compute band-limited periodic noise [256, 256] with mean 0 and standard deviation 1.

    Args:
        seed: Seed of the noise.
        octaves: Lowest and highest frequency in periods per tile.
        stretch: Factor by which the noise is stretched along the first axis.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    fy = np.fft.fftfreq(_SIZE)[:, None] * _SIZE * stretch
    fx = np.fft.fftfreq(_SIZE)[None, :] * _SIZE
    radius = np.hypot(fx, fy)
    low, high = octaves
    band = ((radius >= low) & (radius <= high)) / np.maximum(radius, 1.0) ** 0.8
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((_SIZE, _SIZE))) * band).real
    return (noise / noise.std()).astype(np.float32)


MOTTLE = _tile(11, (4, 40))
STRANDS = _tile(12, (6, 90), stretch=22.0)
SPECKS = _tile(13, (28, 90))


def look_up(tile, x, y):
    """Interpolate a periodic tile bilinearly; one unit of x or y is one period."""
    x, y = x * _SIZE, y * _SIZE
    i, j = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
    fx, fy = (x - i).astype(np.float32), (y - j).astype(np.float32)
    i0, i1, j0, j1 = i & 255, (i + 1) & 255, j & 255, (j + 1) & 255
    top = tile[j0, i0] * (1 - fx) + tile[j0, i1] * fx
    low = tile[j1, i0] * (1 - fx) + tile[j1, i1] * fx
    return top * (1 - fy) + low * fy


def linear(colour):
    """Convert a colour from sRGB in [0, 1] to linear light, float32 [3], with the plain power 2.2."""
    return np.asarray(colour, np.float32) ** np.float32(2.2)


def mix(base, colour, amount):
    """Blend [M, 3] towards a colour ([3] or [M, 3]) by amount [M]."""
    return base + (colour - base) * amount[:, None]
