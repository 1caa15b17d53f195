"""A z-buffer in NumPy, which processes all rows of all triangles at once, and then all pixels of all rows."""

import numpy as np

_DEPTH_STEPS = 1 << 22
_SEAM = 2e-3  # pixels by which neighbouring triangles overlap, so that rounding causes no cracks


def grid_triangles(rows, columns):
    """List the triangles of a grid of vertices, [2 * (rows-1) * (columns-1), 3], counter-clockwise from outside."""
    i = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = i[:-1, :-1].ravel(), i[:-1, 1:].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel()
    return np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]).astype(np.int32)


def rasterise(vertices, triangles, size, two_sided):
    """Find the nearest triangle at each pixel centre of a square image.

    Args:
        vertices: float32 [V, 3] in pixels, with x to the right, y down and z towards the viewer.
        triangles: Indices of vertices, int [T, 3].
        size: Side of the image in pixels.
        two_sided: Whether each triangle is visible from both sides, bool [T].

    Returns:
        (pixel [M], triangle [M], barycentric weights of the corners 3 x [M]) of the M covered pixels.
    """
    px, py, pz = np.ascontiguousarray(vertices.T)
    a, b, c = np.ascontiguousarray(triangles.T)
    xa, ya = px[a], py[a]
    abx, aby, acx, acy = px[b] - xa, py[b] - ya, px[c] - xa, py[c] - ya
    area = abx * acy - acx * aby  # negative from outside, since the image's y points down
    tri = np.flatnonzero((area < -1e-6) | (two_sided & (area > 1e-6)))
    left, count_x = _span(xa[tri], abx[tri], acx[tri], size)
    top, count_y = _span(ya[tri], aby[tri], acy[tri], size)
    seen = np.flatnonzero((count_x > 0) & (count_y > 0))
    tri, left, top, count_x, count_y = tri[seen], left[seen], top[seen], count_x[seen], count_y[seen]
    # The weights of b and c are linear: their values at the first pixel of the box, and their steps along x and y.
    scale = 1.0 / area[tri]
    x0, y0 = left.astype(np.float32) + 0.5 - xa[tri], top.astype(np.float32) + 0.5 - ya[tri]
    bx, by, cx, cy = acy[tri] * scale, -acx[tri] * scale, -aby[tri] * scale, abx[tri] * scale
    b0, c0 = bx * x0 + by * y0, cx * x0 + cy * y0
    # Expand to one entry per row of every triangle, and then to one entry per pixel of every row.
    t, dy = _enumerate(count_y)
    y = dy.astype(np.float32)
    rb, rc, sb, sc = b0[t] + by[t] * y, c0[t] + cy[t] * y, bx[t], cx[t]
    first, count = _inside(((rb, sb), (rc, sc), (1 - rb - rc, -sb - sc)), count_x[t])
    row, dx = _enumerate(count)
    if not len(row):
        empty = np.zeros(0, np.int64)
        return empty, empty, (np.zeros(0, np.float32),) * 3
    dx += first[row]
    x = dx.astype(np.float32)
    wb, wc = rb[row] + sb[row] * x, rc[row] + sc[row] * x
    t, dy = t[row], dy[row]
    owner = tri[t]
    pixel = (top[t] + dy) * size + left[t] + dx
    wa = 1 - wb - wc
    depth = wa * pz[a[owner]] + wb * pz[b[owner]] + wc * pz[c[owner]]
    covered, winner = _nearest(pixel, depth, size)
    return covered, owner[winner], (wa[winner], wb[winner], wc[winner])


def _span(start, to_b, to_c, size):
    """Return the first pixel and the number of pixels in the extent of triangles along one axis, within the image."""
    low = start + np.minimum(np.minimum(to_b, to_c), 0)
    high = start + np.maximum(np.maximum(to_b, to_c), 0)
    first = np.maximum(np.ceil(low - 0.5), 0).astype(np.int32)
    last = np.minimum(np.floor(high - 0.5), size - 1).astype(np.int32)
    return first, last - first + 1


def _enumerate(count):
    """Enumerate elements of which owner i has count[i].

    Returns:
        The owner of each element and its position among the elements of that owner; for count (2, 1), they are
        (0, 0, 1) and (0, 1, 0).
    """
    owner = np.repeat(np.arange(len(count), dtype=np.int32), count)
    start = np.cumsum(count, dtype=np.int32) - count
    return owner, np.arange(len(owner), dtype=np.int32) - start[owner]


def _inside(weights, limit):
    """Return the first pixel and the number of pixels of each row in which no weight is negative.

    Args:
        weights: Three pairs (value, slope); a weight is value + slope * x.
        limit: Number of pixels in each row, so that x is 0 to limit - 1.
    """
    low, high = np.zeros(len(limit), np.float32), (limit - 1).astype(np.float32)
    for value, slope in weights:
        slope = np.where(np.abs(slope) < 1e-12, np.float32(1e-12), slope)
        root = -value / slope
        rising = slope > 0
        low = np.maximum(low, np.where(rising, root, 0))
        high = np.minimum(high, np.where(rising, high, root))
    # The root of a nearly constant weight is far outside, so it is clamped before it overflows an integer.
    first = np.ceil(np.minimum(low, limit) - _SEAM).astype(np.int32)
    last = np.floor(np.maximum(high, -1.0) + _SEAM).astype(np.int32)
    return first, np.maximum(last - first + 1, 0)


def _nearest(pixel, depth, size):
    """Return the covered pixels, and for each the index of its nearest fragment; of equal depths, the last one wins."""
    low, high = depth.min(), depth.max()
    key = ((depth - low) * (_DEPTH_STEPS / max(high - low, 1e-6))).astype(np.int64) << 32
    key |= np.arange(len(key))
    best = np.full(size * size, -1, np.int64)
    np.maximum.at(best, pixel, key)
    covered = np.flatnonzero(best >= 0)
    return covered, best[covered] & 0xFFFFFFFF
