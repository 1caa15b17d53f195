"""The head: one surface over a fixed chart, which is deformed by named displacement fields.

The unit is 10 cm. x points to the right of the image, y up and z towards the viewer; y = 0 is the line of the eyes, and
z = 0 is the plane of the ears. The chart coordinates (p, q) of a point of the skin are its front coordinates x, y on
the template head. They are the same for every identity and expression, so that brows, lips and lids are drawn in the
chart and follow the geometry.

The head is linear in its parameters, as in Blanz & Vetter, "A Morphable Model for the Synthesis of 3D Faces" (1999),
but its fields are written by hand: vertices = template + sum_k weight_k * field_k.
"""

import numpy as np

COLUMNS = 78  # longitudes, dense at the front of the face
FACE_ROWS, CROWN_ROWS, JAW_ROWS = 56, 13, 5
EYE_P, EYE_Q, EYE_HALF_WIDTH = 0.315, 0.0, 0.158
EYEBALL_RADIUS, EYEBALL_DEPTH = 0.128, 0.100
MOUTH_Q, MOUTH_HALF_WIDTH, MOUTH_BAND = -0.70, 0.255, 0.012
CHIN_Q, CROWN_Q = -1.13, 1.17
JAW_RISE = 0.42  # height of the angle of the jaw below the ear over the chin

# Profiles of the template as (q, value): half width, depth of the front, depth of the back.
WIDTH = (
    (-1.20, 0.56),
    (-1.0, 0.59),
    (-0.8, 0.625),
    (-0.6, 0.662),
    (-0.4, 0.70),
    (-0.2, 0.728),
    (0.0, 0.745),
    (0.3, 0.76),
    (0.5, 0.76),
)
FRONT = (
    (-1.20, 0.83),
    (-1.1, 0.885),
    (-0.95, 0.91),
    (-0.8, 0.93),
    (-0.6, 0.945),
    (-0.4, 0.945),
    (-0.2, 0.945),
    (0.0, 0.955),
    (0.25, 0.98),
    (0.5, 0.985),
)
BACK = ((-1.20, 0.42), (-0.9, 0.5), (-0.6, 0.62), (-0.3, 0.78), (0.0, 0.90), (0.3, 0.95), (0.5, 0.955))


def saturate(x):
    """Clip x to [0, 1], with two ufuncs that take a third of the time of np.clip on small arrays."""
    return np.minimum(np.maximum(x, 0.0), 1.0)


def smoothstep(x, low, high):
    """Interpolate smoothly from 0 at x <= low to 1 at x >= high, by a cubic polynomial."""
    t = saturate((x - low) * (1.0 / (high - low)))
    return t * t * (3.0 - 2.0 * t)


def _curve(points, q):
    """Evaluate a cubic Hermite curve through (q, value), closed by a superellipse from q = 0.3 to the crown."""
    knots, values = np.array(points).T
    slopes = np.gradient(values, knots)
    i = np.clip(np.searchsorted(knots, q) - 1, 0, len(knots) - 2)
    h = knots[i + 1] - knots[i]
    t = np.clip((q - knots[i]) / h, 0.0, 1.0)
    cubic = (
        (1 + 2 * t) * (1 - t) ** 2 * values[i]
        + t * (1 - t) ** 2 * h * slopes[i]
        + t * t * (3 - 2 * t) * values[i + 1]
        + t * t * (t - 1) * h * slopes[i + 1]
    )
    dome = np.clip(1.0 - (np.clip(q - 0.3, 0.0, None) / (CROWN_Q - 0.3)) ** 2.3, 0.0, None) ** (1 / 2.1)
    return cubic * dome


def _longitudes(columns=COLUMNS):
    """Return angles from -pi to pi, dense at 0; both ends are included, so that the seam at the back is doubled."""
    u = np.linspace(-1.0, 1.0, columns)
    return np.pi * (0.36 * u + 0.64 * u**3)


def _rows():
    """Return chart heights from the crown down to the edge of the jaw, with rows along the slit of the closed mouth."""
    crown = 0.30 + (CROWN_Q - 0.30) * np.sin(np.linspace(np.pi / 2, 0.0, CROWN_ROWS + 1)) ** 1.0
    face = np.linspace(0.30, CHIN_Q, FACE_ROWS)
    near = np.argsort(np.abs(face - MOUTH_Q))[:4]
    face[np.sort(near)] = MOUTH_Q + np.array([2.6, 1.0, -1.0, -2.6]) * MOUTH_BAND  # the slit's edges are grid lines
    return np.concatenate([crown[:-1], np.sort(face)[::-1]])


def column_of(longitude):
    """Return the fractional column of a longitude in radians."""
    return np.interp(longitude, LONGITUDES, np.arange(COLUMNS))


LONGITUDES = _longitudes()
ROWS = _rows()
ROW_WIDTHS = _curve(WIDTH, ROWS)
N_ROWS = len(ROWS) + JAW_ROWS


def row_of(q):
    """Return the fractional row of a chart height."""
    return np.interp(-np.asarray(q), -ROWS, np.arange(len(ROWS)))


def chart_to_grid(p, q):
    """Return the fractional (row, column) of (p, q) on the front of the head."""
    row = row_of(q)
    width = np.interp(row, np.arange(len(ROWS)), ROW_WIDTHS)
    return row, column_of(np.arcsin(np.clip(p / width, -1.0, 1.0)))


def _template():
    """Build the template: vertices [rows, columns, 3], and chart coordinates p and q, [rows, columns] each."""
    q, lon = ROWS[:, None], LONGITUDES[None, :]
    width, front, back = (_curve(c, q) for c in (WIDTH, FRONT, BACK))
    sin, cos = np.sin(lon), np.cos(lon)
    rise = JAW_RISE * np.where(cos > 0, np.abs(sin) ** 2.4, 1.0 + 0.7 * cos**2)
    x = width * sin
    y = q + rise * smoothstep(-q, 0.30, 1.15)
    z = np.where(cos > 0, front, back) * cos
    p = width * np.where(cos > 0, sin, np.sign(sin) * (1.0 + np.abs(np.abs(lon) - np.pi / 2)))
    face = np.stack([x, y, z], -1)  # [rows, columns, 3]
    throat = np.array([0.0, -0.64, -0.05])
    steps = np.linspace(0.0, 1.0, JAW_ROWS + 1)[1:, None, None]
    under = face[-1] * (1 - steps) + throat * steps
    under[..., 1] -= 0.10 * np.sin(np.pi * steps[..., 0]) * (cos > 0) * cos  # the soft floor of the mouth
    under_q = CHIN_Q - 0.35 * steps[..., 0] + 0 * lon
    vertices = np.concatenate([face, under])
    return vertices, np.concatenate([p, p[-1:] + 0 * under_q]), np.concatenate([q + 0 * lon, under_q])


VERTICES, CHART_P, CHART_Q = _template()


def bump(p0, q0, sp, sq, p=CHART_P, q=CHART_Q):
    """Evaluate a Gaussian bump of height 1 at (p0, q0) with widths sp and sq."""
    return np.exp(-(((p - p0) / sp) ** 2) - ((q - q0) / sq) ** 2)


def both(p0, q0, sp, sq, p=CHART_P, q=CHART_Q):
    """Evaluate the sum of a bump and its mirror image."""
    return bump(p0, q0, sp, sq, p, q) + bump(-p0, q0, sp, sq, p, q)


def away(p0, q0, sp, sq):
    """Evaluate a bump minus its mirror image, as sideways displacement away from the middle."""
    return bump(p0, q0, sp, sq) - bump(-p0, q0, sp, sq)


def sample(vertices, row, column):
    """Interpolate the surface with vertices [rows, columns, 3] at fractional (row, column): [..., 3]."""
    r0 = np.minimum(row.astype(int), len(ROWS) - 2)
    c0 = np.minimum(column.astype(int), COLUMNS - 2)
    fr, fc = (row - r0)[..., None], (column - c0)[..., None]
    top = vertices[r0, c0] * (1 - fc) + vertices[r0, c0 + 1] * fc
    low = vertices[r0 + 1, c0] * (1 - fc) + vertices[r0 + 1, c0 + 1] * fc
    return top * (1 - fr) + low * fr
