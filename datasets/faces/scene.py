"""The G-buffer of a face: meshes are built, rotated, framed as in FFHQ, rasterised and interpolated."""

from dataclasses import dataclass

import numpy as np

from datasets.faces import fields, hair, head, labels, parts
from datasets.faces.head import saturate, smoothstep
from datasets.faces.identity import LONG_STYLES
from datasets.faces.raster import grid_triangles, rasterise

HEAD, LEFT_EAR, RIGHT_EAR, BODY, HAIR = range(5)
NECK_PIVOT = np.array([0.0, -0.8, -0.15], np.float32)
BODY_FOLLOWS = 0.35  # fraction of the head's yaw by which the shoulders turn
_HEAD_TRIANGLES = grid_triangles(head.N_ROWS, head.COLUMNS)


@dataclass
class Mesh:
    """A grid of vertices with chart coordinates and triangles."""

    part: int
    vertices: np.ndarray  # [rows, columns, 3], later in the view's frame
    a: np.ndarray  # chart coordinates [rows, columns]
    b: np.ndarray
    triangles: np.ndarray
    occlusion: np.ndarray | float = 1.0
    two_sided_from: int = 1 << 30  # first row that is visible from both sides, for ears and hanging hair


@dataclass
class Pose:
    """The transform from the head's frame to the image.

    A point in the view's frame is rotation @ point in the head's frame. With d = point in the view's frame - middle,
    its position in an image of size 1 is the image's centre + scale * (d.x, -d.y).
    """

    rotation: np.ndarray  # [3, 3]
    middle: tuple  # x, y; plain floats, so that float32 points stay float32
    scale: float

    def to_pixels(self, view, size):
        """Project points [..., 3] in the view's frame to pixels (x, y) and depth in pixels, [..., 3]."""
        x = size * (0.5 + self.scale * (view[..., 0] - self.middle[0]))
        y = size * (0.5 - self.scale * (view[..., 1] - self.middle[1]))
        return np.stack([x, y, size * self.scale * view[..., 2]], -1)  # [..., 3]

    def to_view(self, pixel, size):
        """Return x and y of the centres of pixels in the view's frame, float32, given the indices of the pixels."""
        step = 1.0 / (size * self.scale)
        x = self.middle[0] + (pixel % size + (0.5 - size / 2)) * step
        y = self.middle[1] - (pixel // size + (0.5 - size / 2)) * step
        return x.astype(np.float32), y.astype(np.float32)


@dataclass
class Surface:
    """The interpolated attributes of the M pixels of one part, [M] or [M, 3] each."""

    pixel: np.ndarray
    a: np.ndarray
    b: np.ndarray
    normal: np.ndarray  # view's frame, unit length
    tangent: np.ndarray | None  # direction of the strands, for hair only
    position: np.ndarray  # view's frame
    occlusion: np.ndarray
    shadow: np.ndarray


def rotation(yaw, pitch, roll):
    """Compute the rotation matrix Rz(roll) Rx(pitch) Ry(yaw), [3, 3].

    Angles are in degrees; yaw to the right of the image, pitch upwards and clockwise roll are positive.
    """
    y, p, r = np.deg2rad([yaw, -pitch, -roll])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rx = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    rz = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return rz @ rx @ ry


def expression_weights(identity, nuisance):
    """Return {name of a displacement field: weight} for the shape and the expression of a face."""
    weights = dict(identity.shape)
    for name in ("smile", "teeth", "open_mouth", "pucker", "brow_raise", "frown"):
        weights[name] = getattr(nuisance, name)
    if identity.beard == "full":
        weights["beard_volume"] = 0.3 + 1.2 * identity.beard_length
    return weights


def frame(points, nuisance):
    """Compute the pose that frames the landmarks [68, 3] as in FFHQ (Karras et al. 2019, appendix A).

    The crop is computed before the head is tilted, so that roll remains visible.
    """
    turn = rotation(nuisance.yaw, nuisance.pitch, 0.0)
    view = (points @ turn.T)[:, :2]
    eyes = (view[36:42].mean(0) + view[42:48].mean(0)) / 2
    between = view[42:48].mean(0) - view[36:42].mean(0)
    to_mouth = (view[48] + view[54]) / 2 - eyes
    across = between + np.array([-to_mouth[1], to_mouth[0]])
    half = max(2.0 * np.hypot(*between), 1.8 * np.hypot(*to_mouth))
    centre = eyes + 0.1 * to_mouth
    tilt = -np.rad2deg(np.arctan2(across[1], across[0]))
    upright = rotation(nuisance.yaw, nuisance.pitch, nuisance.roll - tilt)
    spin = rotation(0.0, 0.0, nuisance.roll - tilt)[:2, :2]
    return Pose(upright, tuple((spin @ centre).tolist()), float(0.5 / half))


def _normals(v):
    """Compute unit normals and unit tangents along the columns of a grid of vertices [rows, columns, 3]."""
    du, dv = np.empty_like(v), np.empty_like(v)
    du[:, 1:-1] = v[:, 2:] - v[:, :-2]
    du[:, 0], du[:, -1] = v[:, 1] - v[:, 0], v[:, -1] - v[:, -2]
    dv[1:-1] = v[2:] - v[:-2]
    dv[0], dv[-1] = v[1] - v[0], v[-1] - v[-2]
    n = np.stack([dv[..., 1] * du[..., 2] - dv[..., 2] * du[..., 1],
                  dv[..., 2] * du[..., 0] - dv[..., 0] * du[..., 2],
                  dv[..., 0] * du[..., 1] - dv[..., 1] * du[..., 0]], -1)  # fmt: skip
    n /= np.sqrt((n * n).sum(-1, keepdims=True)) + 1e-9
    dv /= np.sqrt((dv * dv).sum(-1, keepdims=True)) + 1e-9
    return n, dv


def _cavity(v, normal):
    """Estimate ambient occlusion [rows, columns] from the height of the neighbourhood over the tangent plane."""
    mean = v.copy()
    mean[3:-3, 3:-3] = (v[6:, 3:-3] + v[:-6, 3:-3] + v[3:-3, 6:] + v[3:-3, :-6]) * np.float32(0.25)
    rise = ((mean - v) * normal).sum(-1)
    return np.clip(1.0 - 7.0 * np.clip(rise, -0.01, 0.07), 0.45, 1.06)


def meshes(identity, nuisance):
    """Build the meshes in the head's frame, of which the head is the first, and the landmarks [68, 3]."""
    v = fields.vertices(expression_weights(identity, nuisance))
    points = labels.landmarks(v, identity, nuisance)
    root_q = parts.EAR_Y + parts.EAR_HALF_HEIGHT * np.array(parts.ROOT_UP)
    ear_x = head.sample(v, head.row_of(root_q), np.full(len(root_q), head.column_of(np.deg2rad(92.0))))[:, 0]
    size = identity.shape.get("face_length", 0.0) * 0.6 - identity.shape.get("face_width", 0.0) * 0.3
    flare = parts.EAR_FLARE_UNDER_HAIR if identity.hair_style in LONG_STYLES else parts.EAR_FLARE
    surfaces = [Mesh(HEAD, v, head.CHART_P, head.CHART_Q, _HEAD_TRIANGLES)]
    for part, side in ((LEFT_EAR, -1), (RIGHT_EAR, 1)):
        ao = np.clip(1.0 + 6.0 * parts.EAR_RELIEF, 0.4, 1.0)
        surfaces.append(
            Mesh(
                part,
                parts.ear(ear_x, side, size, flare),
                parts.EAR_ACROSS,
                parts.EAR_UP,
                parts.ear_triangles(side),
                ao,
                0,
            )
        )
    under_jaw = 1.0 - 0.55 * smoothstep(parts.BODY_Y, -1.25, -0.85)
    surfaces.append(
        Mesh(
            BODY,
            parts.body(identity.shape.get("jaw_width", 0.0)),
            parts.BODY_ANGLE,
            parts.BODY_Y,
            parts.BODY_TRIANGLES,
            under_jaw,
        )
    )
    if identity.hair_style != "bald":
        shell, along = hair.shell(v, identity)
        lon = np.broadcast_to(hair.LONGITUDE.astype(np.float32), along.shape)
        ao = (
            0.75 + 0.25 * smoothstep(1.0 - along, 0.0, 0.5)
            if identity.hair_style not in LONG_STYLES
            else np.ones_like(along)
        )
        surfaces.append(Mesh(HAIR, shell, lon, along, hair.TRIANGLES, ao, hair.SKULL_ROWS - 3))
        if identity.hair_style == "bun":
            knot = hair.bun(identity)
            a = np.broadcast_to(np.linspace(-3, 3, hair.BUN_COLUMNS), knot.shape[:2])
            b = np.broadcast_to(np.linspace(0, 1, hair.BUN_ROWS)[:, None], knot.shape[:2])
            surfaces.append(Mesh(HAIR, knot, a, b, hair.BUN_TRIANGLES, np.full(knot.shape[:2], 0.9)))
    return surfaces, points


def _shadow(view, light, cell, bias, soft):
    """Compute soft shadows from a depth map along the light.

    Args:
        view: Vertices in the view's frame, [V, 3].
        light: Direction towards the light, [3].
        cell: Size of a cell of the depth map.
        bias: Smallest distance over a vertex at which a surface casts a shadow on it.
        soft: Further distance at which the shadow is complete.

    Returns:
        The fraction of light that reaches each vertex, [V].
    """
    to_light = np.asarray(light, np.float32)
    right = np.array([to_light[2], 0.0, -to_light[0]], np.float32)
    right /= np.sqrt(right @ right)
    up = np.array([to_light[1] * right[2], to_light[2] * right[0] - to_light[0] * right[2], -to_light[1] * right[0]])
    u, v, depth = np.stack([right / cell, up / cell, to_light]).astype(np.float32) @ view.T
    n = int(5.6 / cell)
    u, v = (np.minimum(np.maximum(x + n / 2, 1), n - 3) for x in (u, v))
    deepest = np.full(n * n, -9.0, np.float32)
    np.maximum.at(deepest, v.astype(np.int32) * n + u.astype(np.int32), depth)
    u, v = u - 0.5, v - 0.5
    i, j = u.astype(np.int32), v.astype(np.int32)
    u, v = u - i.astype(np.float32), v - j.astype(np.float32)
    corner = j * n + i
    shade = 0.0
    for step, weight in ((0, (1 - u) * (1 - v)), (1, u * (1 - v)), (n, (1 - u) * v), (n + 1, u * v)):
        over = deepest.take(corner + step) - depth
        shade = shade + weight * saturate((over - bias) * (1.0 / soft))
    return 1.0 - shade


def _blur(grid):
    """Average a grid [rows, columns] over 3x3 neighbours, without padding at its edges."""
    out = grid.copy()
    out[1:-1] = (grid[:-2] + grid[1:-1] + grid[2:]) / 3
    out[:, 1:-1] = (out[:, :-2] + out[:, 1:-1] + out[:, 2:]) / 3
    return out


def _turn(surfaces, pose, nuisance):
    """Rotate the meshes to the view's frame in place; the shoulders follow the head's rotation only partly."""
    spin = pose.rotation.astype(np.float32)
    shoulders = rotation(BODY_FOLLOWS * nuisance.yaw, 0.35 * nuisance.pitch, 0.0).astype(np.float32)
    for mesh in surfaces:
        own = shoulders if mesh.part == BODY else spin
        mesh.vertices = mesh.vertices @ own.T + NECK_PIVOT @ (spin - own).T


def _shadows(flat, surfaces, light):
    """Compute the fraction of light that reaches each vertex, [V].

    The head has a finer depth map of its own, for the shadows of nose and brows.
    """
    lit = _shadow(flat, light, 0.125, 0.10, 0.16)
    n = surfaces[0].triangles.max() + 1
    lit[:n] = np.minimum(lit[:n], _shadow(flat[:n], light, 0.06, 0.05, 0.07))
    start = 0
    for mesh in surfaces:
        rows, columns = mesh.vertices.shape[:2]
        grid = lit[start : start + rows * columns].reshape(rows, columns)
        grid[:] = _blur(_blur(grid))
        start += rows * columns
    return lit


def _vertex_table(surfaces, flat, lit):
    """Collect the attributes of all vertices.

    Returns:
        a, b, normal, depth, occlusion and shadow of each vertex, float32 [V, 8], and the tangents of hair, [V, 3].
    """
    table, tangents = np.empty((len(flat), 8), np.float32), np.zeros((len(flat), 3), np.float32)
    start = 0
    for mesh in surfaces:
        normal, tangent = _normals(mesh.vertices)
        if mesh.part == LEFT_EAR:
            normal = -normal  # the left ear is mirrored
        n = normal.shape[0] * normal.shape[1]
        rows = table[start : start + n]
        rows[:, 0], rows[:, 1] = mesh.a.ravel(), mesh.b.ravel()
        rows[:, 2:5] = normal.reshape(-1, 3)
        occlusion = (
            _cavity(mesh.vertices, normal) if mesh.part == HEAD else np.broadcast_to(mesh.occlusion, normal.shape[:2])
        )
        rows[:, 6] = occlusion.ravel()
        if mesh.part == HAIR:
            tangents[start : start + n] = tangent.reshape(-1, 3)
        start += n
    table[:, 5], table[:, 7] = flat[:, 2], lit
    return table, tangents


def _weighted(corners: list[np.ndarray], weights: list[np.ndarray]) -> np.ndarray:
    """Interpolate between the values [M, K] at the three corners of triangles, with weights [M, 1] each: [M, K]."""
    (a, b, c), (u, v, w) = corners, weights
    return a * u + b * v + c * w


def capture(identity, nuisance, size):
    """Rasterise a face at size x size pixels.

    Returns:
        (surfaces by part, pose, landmarks in the view's frame [68, 3], vertices of the head in its frame).
    """
    surfaces, points = meshes(identity, nuisance)
    vertices = surfaces[0].vertices
    pose = frame(points, nuisance)
    _turn(surfaces, pose, nuisance)
    flat = np.concatenate([m.vertices.reshape(-1, 3) for m in surfaces])
    table, tangents = _vertex_table(surfaces, flat, _shadows(flat, surfaces, nuisance.light))
    offsets = np.cumsum([0, *(m.vertices.shape[0] * m.vertices.shape[1] for m in surfaces)])
    triangles = np.concatenate([m.triangles + o for m, o in zip(surfaces, offsets, strict=False)])
    part = np.repeat(np.array([m.part for m in surfaces], np.uint8), [len(m.triangles) for m in surfaces])
    two_sided = np.concatenate([m.triangles[:, 0] >= m.two_sided_from * m.vertices.shape[1] for m in surfaces])
    pixel, triangle, weights = rasterise(pose.to_pixels(flat, size), triangles, size, two_sided)

    order = np.argsort(part[triangle], kind="stable")  # one contiguous block of pixels for each part
    pixel, triangle, weights = pixel[order], triangle[order], [w[order, None] for w in weights]
    corners = [triangles[:, i][triangle] for i in range(3)]
    values = _weighted([table.take(c, 0) for c in corners], weights)  # [M, 8]
    normal = values[:, 2:5] / (np.sqrt(np.einsum("ij,ij->i", values[:, 2:5], values[:, 2:5])) + 1e-6)[:, None]
    bounds = np.searchsorted(part[triangle], np.arange(HAIR + 2))
    surfaces = []
    for k in range(HAIR + 1):
        own = slice(bounds[k], bounds[k + 1])
        tangent = None
        if k == HAIR:
            tangent = _weighted([tangents[c[own]] for c in corners], [w[own] for w in weights])
        position = np.stack([*pose.to_view(pixel[own], size), values[own, 5]], 1)
        surfaces.append(
            Surface(
                pixel[own],
                values[own, 0],
                values[own, 1],
                normal[own],
                tangent,
                position,
                values[own, 6],
                values[own, 7],
            )
        )
    return surfaces, pose, points @ pose.rotation.T, vertices
