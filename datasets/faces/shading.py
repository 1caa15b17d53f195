"""Colours, tileable noise and light: a key light with a soft warm edge on skin, ambient light, highlights, backdrop."""

import numpy as np

TILE = 256  # side of the noise in pixels, a power of two
# Light that is scattered in skin leaves it redder and further away, so each channel has its own softness of shadows.
SKIN_WRAP = np.array([0.34, 0.18, 0.12], np.float32)
HAIR_WRAP = np.array([0.25, 0.25, 0.25], np.float32)
VIEW = np.array([0.0, 0.0, 1.0], np.float32)


def _tile(seed, octaves, stretch=1.0):
    """Compute band-limited periodic noise [256, 256] with mean 0 and standard deviation 1.

    Args:
        seed: Seed of the noise.
        octaves: Lowest and highest frequency in periods per tile.
        stretch: Factor by which the noise is stretched along the first axis.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    fy = np.fft.fftfreq(TILE)[:, None] * TILE * stretch
    fx = np.fft.fftfreq(TILE)[None, :] * TILE
    radius = np.hypot(fx, fy)
    low, high = octaves
    band = ((radius >= low) & (radius <= high)) / np.maximum(radius, 1.0) ** 0.8
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((TILE, TILE))) * band).real
    return (noise / noise.std()).astype(np.float32)


MOTTLE = _tile(11, (4, 40))
STRANDS = _tile(12, (6, 90), stretch=22.0)
SPECKS = _tile(13, (28, 90))


def look_up(tile, x, y):
    """Interpolate a periodic tile bilinearly; one unit of x or y is one period."""
    x, y = x * TILE, y * TILE
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


def _key(nuisance):
    """Return the colour of the key light, [3]."""
    warmth = nuisance.light_warmth
    return nuisance.light_strength * np.array([1.0 + 0.14 * warmth, 1.0, 1.0 - 0.20 * warmth], np.float32)


def ambient(normal, occlusion, nuisance):
    """Compute ambient light [M, 3], from a sky above and a warmer ground below."""
    up = (0.5 + 0.5 * normal[:, 1])[:, None]
    sky = np.array([0.96, 1.0, 1.06], np.float32)
    ground = np.array([0.62, 0.55, 0.50], np.float32)
    fill = (0.75 + 0.25 * normal[:, 2])[:, None]
    return nuisance.ambient * occlusion[:, None] * (ground + (sky - ground) * up) * fill


def matte(surface, nuisance, wrap):
    """Compute diffuse light [M, 3]; `wrap` is the softness of the edge of the shadow per channel, [3]."""
    light = np.asarray(nuisance.light, np.float32)
    facing = surface.normal @ light
    lit = np.maximum((facing[:, None] + wrap) / (1.0 + wrap), 0.0)
    lit *= np.sqrt(np.sqrt(lit))  # power 1.25 for a rounder edge than that of plain wrap lighting
    lit *= 1.0 - (1.0 - surface.shadow[:, None]) * np.array([0.90, 1.0, 1.0], np.float32)
    lit *= (0.30 + 0.70 * surface.occlusion)[:, None]
    return _key(nuisance) * lit + ambient(surface.normal, surface.occlusion, nuisance)


def sheen(normal, nuisance, power):
    """Compute Blinn-Phong highlights [M] for an orthographic view."""
    half = np.asarray(nuisance.light, np.float32) + VIEW
    half /= np.linalg.norm(half)
    return np.clip(normal @ half, 0.0, None) ** power * nuisance.light_strength


def strand_sheen(tangent, nuisance, shift):
    """Compute highlights [M] on strands (Kajiya & Kay 1989, eq. 14 with the half vector)."""
    half = np.asarray(nuisance.light, np.float32) + VIEW
    half /= np.linalg.norm(half)
    along = tangent @ half + shift
    return np.clip(1.0 - along * along, 0.0, 1.0) ** 14


def to_display(light):
    """Convert light to sRGB-like values in [0, 1], with a tone curve that prevents bright skin from clipping."""
    x = np.clip(light, 0.0, None)
    x = x * (1.0 + x * 0.06) / (1.0 + 0.30 * x * x)
    return np.clip(x, 0.0, 1.0) ** np.float32(1 / 2.2)


def backdrop(nuisance, size):
    """Render a blurred background, linear light [size, size, 3].

    It consists of a gradient and a few soft blobs, each of which is the product of a row and a column.
    """
    u = np.random.Generator(np.random.PCG64(nuisance.background_seed)).random(40).astype(np.float32)
    t = (np.arange(size, dtype=np.float32) + 0.5) / size
    base = linear(nuisance.background)
    across, down = (
        [np.ones(size, np.float32), t - 0.5, np.ones(size)],
        [np.ones(size, np.float32), np.ones(size), t - 0.5],
    )
    colours = [base, 0.6 * (u[0] - 0.5) * base, 0.6 * (u[1] - 0.5) * base]
    for k in range(int(u[2] * 5)):
        cx, cy, gain, tint = u[3 + 7 * k], u[4 + 7 * k], 0.75 * (u[6 + 7 * k] - 0.4), u[7 + 7 * k : 10 + 7 * k]
        r = 0.10 + 0.28 * u[5 + 7 * k]
        across.append(np.exp(-(((t - cx) / r) ** 2)))
        down.append(np.exp(-(((t - cy) / r) ** 2)))
        colours.append(base * ((1.0 + gain) * (0.75 + 0.5 * tint) - 1.0))
    weights = (np.stack(across)[:, :, None] * np.stack(colours)[:, None, :]).reshape(len(across), -1)  # [K, size * 3]
    image = np.stack(down, 1).astype(np.float32) @ weights.astype(np.float32)
    return np.minimum(np.maximum(image, 0.0), 1.2).reshape(size, size, 3)
