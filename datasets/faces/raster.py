"""A z-buffer in NumPy: every (triangle, pixel) candidate of one bounding-box size is tested in one array operation."""

import numpy as np

BOX_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048)
_DEPTH_STEPS = 1 << 22


def grid_triangles(rows, columns):
    """Triangles [2 * (rows-1) * (columns-1), 3] of a grid of vertices, counter-clockwise seen from outside."""
    i = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = i[:-1, :-1].ravel(), i[:-1, 1:].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel()
    return np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]).astype(np.int32)


def _candidates(box, count_x, count_y, size):
    """Offsets of the k*k pixels of each box and which of them belong to it."""
    k = np.arange(size, dtype=np.int32)
    dx, dy = np.tile(k, size), np.repeat(k, size)
    return dx, dy, (dx < count_x[box, None]) & (dy < count_y[box, None])


def rasterise(vertices, triangles, size, two_sided):
    """Nearest surface at each pixel centre of a size x size image.

    vertices float32 [V, 3] in pixels (x right, y down, z towards the viewer); triangles int [T, 3]; two_sided bool [T].
    Returns (pixel [M], triangle [M], weights [M, 3]) for the M covered pixels, barycentric weights for the three corners.
    """
    corner = vertices[triangles]  # [T, 3, 3]
    x, y, z = corner[:, :, 0], corner[:, :, 1], corner[:, :, 2]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    left = np.maximum(np.ceil(x.min(1) - 0.5), 0).astype(np.int32)
    top = np.maximum(np.ceil(y.min(1) - 0.5), 0).astype(np.int32)
    count_x = np.minimum(np.floor(x.max(1) - 0.5).astype(np.int32) + 1, size) - left
    count_y = np.minimum(np.floor(y.max(1) - 0.5).astype(np.int32) + 1, size) - top
    facing = (area < -1e-6) | (two_sided & (area > 1e-6))  # image y points down, so outside is clockwise
    keep = np.flatnonzero(facing & (count_x > 0) & (count_y > 0))
    extent = np.maximum(count_x[keep], count_y[keep])
    bucket = np.searchsorted(BOX_SIZES, extent)

    pixels, owners, weights, depths = [], [], [], []
    for b in np.unique(bucket):
        tri = keep[bucket == b]
        dx, dy, inside = _candidates(tri, count_x, count_y, BOX_SIZES[b])
        x0, y0 = left[tri] + np.float32(0.5), top[tri] + np.float32(0.5)
        scale = 1.0 / area[tri]
        edges = []
        for i, j in ((1, 2), (2, 0)):  # weight of corner 0, then of corner 1
            ex, ey = (x[tri, j] - x[tri, i]) * scale, (y[tri, j] - y[tri, i]) * scale
            start = ex * (y0 - y[tri, i]) - ey * (x0 - x[tri, i])
            edges.append(start[:, None] + (ex[:, None] * dy - ey[:, None] * dx))  # [t, k*k]
        w0, w1 = edges
        inside &= (w0 >= 0) & (w1 >= 0) & (w0 + w1 <= 1)
        t, k = np.nonzero(inside)
        w0, w1 = w0[t, k], w1[t, k]
        owner = tri[t]
        pixels.append((top[owner] + dy[k]) * size + left[owner] + dx[k])
        owners.append(owner)
        weights.append(np.stack([w0, w1, 1 - w0 - w1], 1))
        depths.append((weights[-1] * z[owner]).sum(1))
    if not pixels:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.float32)
    pixel, owner, weight, depth = (np.concatenate(a) for a in (pixels, owners, weights, depths))
    return _nearest(pixel, owner, weight, depth, size)


def _nearest(pixel, owner, weight, depth, size):
    """Keep the fragment with the largest depth at each pixel; a tie goes to the later fragment, on every machine alike."""
    low, high = depth.min(), depth.max()
    key = ((depth - low) * (_DEPTH_STEPS / max(high - low, 1e-6))).astype(np.int64) << 32
    key |= np.arange(len(key))
    best = np.full(size * size, -1, np.int64)
    np.maximum.at(best, pixel, key)
    covered = np.flatnonzero(best >= 0)
    winner = best[covered] & 0xFFFFFFFF
    return covered, owner[winner], weight[winner]
