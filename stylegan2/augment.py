"""Adaptive discriminator augmentation (Karras et al. 2020, arXiv 2006.06676): the transforms and the controller of p.

Real and generated images pass through `augment` before the discriminator sees them, everywhere and with the same p.
Random numbers come from PyTorch's global CPU generator, so that a seed gives the same draws on every device; a few
numbers for each image are then copied to the images' device, without waiting for it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2 import ops
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.randomness import draw_shard

BLIT = ("x_flip", "rotate_90", "integer_shift")
GEOMETRIC = ("isotropic_scale", "rotation", "anisotropic_scale", "fractional_shift")
COLOUR = ("brightness", "contrast", "luma_flip", "hue", "saturation")
PIPELINES = {"b": BLIT, "bg": BLIT + GEOMETRIC, "bgc": BLIT + GEOMETRIC + COLOUR}  # the paper's sets, section 3

# Widths of the distributions, appendix B. Scales are log-normal: 2^N(0, width^2).
MAX_INTEGER_SHIFT = 0.125  # of the image's side
SCALE_WIDTH, SHIFT_WIDTH = 0.2, 0.125
BRIGHTNESS_WIDTH, CONTRAST_WIDTH, SATURATION_WIDTH = 0.2, 0.5, 1.0

# The orthogonal low-pass filter of the symlet with 6 vanishing moments (Daubechies 1992, table 6.3). It is not quite
# symmetric; its centre is tap 5.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
SYM6_CENTRE = 5


def augment(images: Tensor, p: float, transforms: tuple[str, ...] = PIPELINES["bgc"]) -> Tensor:
    """Apply each transform to each image with probability p, independently.

    The result is twice differentiable in the images, as R1 needs. Reflection fills the area that a transform moves in
    from outside.

    Args:
        images: float [N, C, R, R] in [-1, 1], C = 1, 3 or 4; alpha moves with the image and keeps its values.
        p: From 0, where images return as they are, to 1.
        transforms: Names from BLIT, GEOMETRIC and COLOUR; PIPELINES has the paper's sets of them.

    Returns:
        float [N, C, R, R]. Values may leave [-1, 1]: nothing is clamped.

    Raises:
        UserError: There are other channels, a transform is unknown, or p is out of its range.
    """
    if p == 0:
        return images
    return apply(images, draw_shard(lambda count: draw(count, images.shape[2], p, transforms), len(images)))


# ------------------------------------------------------------------------------------------------- draws


@dataclass(frozen=True)
class Augmentation:
    """The transforms drawn for each of N images. Indexing selects those of some images."""

    x_flip: Tensor
    """bool [N]"""
    quarter_turns: Tensor
    """int64 [N], 0 to 3, after the flip"""
    place: Tensor
    """float64 [N, 3, 3], applied next: maps a position in the image to its new position, in pixels from the centre,
    x to the right"""
    colour: Tensor
    """float64 [N, 4, 4], maps (r, g, b, 1) in [-1, 1] to the new colour"""

    def __getitem__(self, samples: slice | Tensor) -> "Augmentation":
        return Augmentation(*(part[samples] for part in (self.x_flip, self.quarter_turns, self.place, self.colour)))


def draw(count: int, resolution: int, p: float, transforms: tuple[str, ...] = PIPELINES["bgc"]) -> Augmentation:
    """Draw the transforms of `count` images (appendix B). The same random numbers are drawn for any p."""
    if not 0 <= p <= 1:
        raise UserError(f"the probability of augmentation must be from 0 to 1, not {p}")
    if unknown := set(transforms) - set(PIPELINES["bgc"]):
        raise UserError(f"there is no augmentation {min(unknown)!r}: choose from {', '.join(PIPELINES['bgc'])}")

    probabilities = {name: p if name in transforms else 0.0 for name in PIPELINES["bgc"]}
    x_flip = _sometimes(probabilities["x_flip"], torch.randint(2, (count, 1)), 0)  # [N, 1]
    quarter_turns = _sometimes(probabilities["rotate_90"], torch.randint(4, (count, 1)), 0)  # [N, 1]
    place = _draw_place(count, resolution, probabilities)  # [N, 3, 3]
    colour = _draw_colour(count, probabilities)  # [N, 4, 4]
    return Augmentation(x_flip[:, 0].bool(), quarter_turns[:, 0], place, colour)


def _sometimes(p: float, values: Tensor, neutral: float) -> Tensor:
    """Keep each row of values [N, K] with probability p; the others become `neutral`, which changes nothing."""
    kept = torch.rand(len(values)) < p  # [N]
    return torch.where(kept[:, None], values, neutral)


def _draw_place(count: int, resolution: int, p: Mapping[str, float]) -> Tensor:
    """Draw an integer shift and the general geometric transforms, one after the other: [N, 3, 3]."""
    # One of two rotations, before and after the anisotropic scale; with probability p at least one of them is applied.
    p_rotation = 1 - math.sqrt(1 - p["rotation"])
    shift = (_uniform(count, 2) * MAX_INTEGER_SHIFT * resolution).round()  # [N, 2]
    place = _translation(_sometimes(p["integer_shift"], shift, 0.0))
    scale = torch.exp2(_normal(count, 1) * SCALE_WIDTH)  # [N, 1]
    place = _scaling(_sometimes(p["isotropic_scale"], scale, 1.0).expand(-1, 2)) @ place
    place = _rotation(_sometimes(p_rotation, _uniform(count, 1) * math.pi, 0.0)) @ place
    scale = torch.exp2(_normal(count, 1) * SCALE_WIDTH)  # [N, 1]
    place = _scaling(_sometimes(p["anisotropic_scale"], torch.cat([scale, 1 / scale], 1), 1.0)) @ place
    place = _rotation(_sometimes(p_rotation, _uniform(count, 1) * math.pi, 0.0)) @ place
    shift = _normal(count, 2) * SHIFT_WIDTH * resolution  # [N, 2]
    return _translation(_sometimes(p["fractional_shift"], shift, 0.0)) @ place


def _draw_colour(count: int, p: Mapping[str, float]) -> Tensor:
    """Draw brightness, contrast, luma flip, hue and saturation, one after the other: [N, 4, 4]."""
    luma = torch.ones(3, 3, dtype=torch.float64) / 3  # v v^T, the projection onto the grey axis v
    identity = torch.eye(3, dtype=torch.float64)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64) / math.sqrt(3)  # v x
    brightness = _sometimes(p["brightness"], _normal(count, 1) * BRIGHTNESS_WIDTH, 0.0)
    colour = _translation(brightness.expand(-1, 3))  # [N, 4, 4]
    contrast = _sometimes(p["contrast"], torch.exp2(_normal(count, 1) * CONTRAST_WIDTH), 1.0)
    colour = _scaling(contrast.expand(-1, 3)) @ colour
    flip = _sometimes(p["luma_flip"], torch.randint(2, (count, 1)), 0)[:, :, None]  # [N, 1, 1]
    colour = _homogeneous(identity - 2 * flip * luma) @ colour  # Householder's reflection
    angle = _sometimes(p["hue"], _uniform(count, 1) * math.pi, 0.0)[:, :, None]  # [N, 1, 1]
    turn = angle.cos() * identity + angle.sin() * cross + (1 - angle.cos()) * luma  # Rodrigues' formula
    colour = _homogeneous(turn) @ colour
    saturation = _sometimes(p["saturation"], torch.exp2(_normal(count, 1) * SATURATION_WIDTH), 1.0)[:, :, None]
    return _homogeneous(luma + saturation * (identity - luma)) @ colour


def _uniform(*size: int) -> Tensor:
    """Draw uniform numbers in [-1, 1)."""
    return torch.rand(size, dtype=torch.float64) * 2 - 1


def _normal(*size: int) -> Tensor:
    return torch.randn(size, dtype=torch.float64)


def _homogeneous(matrix: Tensor) -> Tensor:
    """Return matrices in homogeneous coordinates: [N, D, D] -> [N, D + 1, D + 1]."""
    matrix = F.pad(matrix, (0, 1, 0, 1))  # [N, D + 1, D + 1]
    matrix[:, -1, -1] = 1
    return matrix


def _scaling(factors: Tensor) -> Tensor:
    """Return matrices that scale each axis by its factor: [N, D] -> [N, D + 1, D + 1]."""
    return _homogeneous(torch.diag_embed(factors))


def _translation(shift: Tensor) -> Tensor:
    """Return matrices that translate by a shift: [N, D] -> [N, D + 1, D + 1]."""
    matrix = _scaling(torch.ones_like(shift))
    matrix[:, :-1, -1] = shift
    return matrix


def _rotation(angle: Tensor) -> Tensor:
    """Return rotations by angles in radians: [N, 1] -> [N, 3, 3]."""
    cos, sin = angle.cos(), angle.sin()
    return _homogeneous(torch.cat([cos, -sin, sin, cos], 1).view(-1, 2, 2))


# --------------------------------------------------------------------------------------- what is done


def apply(images: Tensor, a: Augmentation) -> Tensor:
    """Apply the drawn transforms to images [N, C, R, R], C = 1, 3 or 4.

    Raises:
        UserError: The images have another number of channels.
    """
    if images.shape[1] not in (1, 3, 4):
        raise UserError(f"images of {images.shape[1]} channels cannot be augmented: they must have 1, 3 or 4")
    images = images.to(torch.promote_types(images.dtype, torch.float32))
    with ops.full_precision(images):
        images = blit(images, a.x_flip, a.quarter_turns)
        images = move(images, a.place)
        return recolour(images, a.colour)


def blit(images: Tensor, x_flip: Tensor, quarter_turns: Tensor) -> Tensor:
    """Flip and turn images [N, C, R, R] by copying pixels, without blending neighbours: [N, C, R, R]."""
    changes = torch.stack([x_flip, quarter_turns % 2 == 1, quarter_turns >= 2])  # [3, N]
    changes = changes.to(images.device, non_blocking=True)[:, :, None, None, None]  # [3, N, 1, 1, 1]
    images = torch.where(changes[0], images.flip(3), images)
    images = torch.where(changes[1], images.rot90(1, (2, 3)), images)
    return torch.where(changes[2], images.flip(2, 3), images)


def move(images: Tensor, place: Tensor) -> Tensor:
    """Move images [N, C, R, R] by bilinear lookup at twice the resolution (appendix B): [N, C, R, R].

    `place` [N, 3, 3] is as in `Augmentation`. Where it is the identity or a shift by whole pixels, nothing is lost, as
    the filter is orthogonal. The paper fills from a reflected margin of less than one image's side; here the reflection
    has no end, because a reflected image is periodic and one period can be looked up everywhere.
    """
    up, down = _resampling(images.shape[2], images.dtype, images.device)
    grid = _lookup_places(torch.linalg.inv(place).to(images, non_blocking=True), len(up), len(down))  # [N, Q, Q, 2]
    images = up @ images @ up.t()  # [N, C, P + 1, P + 1]
    return down @ _Lookup.apply(images, grid) @ down.t()  # [N, C, R, R]


def recolour(images: Tensor, colour: Tensor) -> Tensor:
    """Map the colour of each pixel by `colour` [N, 4, 4]; a gray image is one of equal r, g and b, and stays gray."""
    colour = colour.to(images, non_blocking=True)
    if images.shape[1] == 1:
        gain = colour[:, :3, :3].sum([1, 2]) / 3  # [N]
        return images * gain[:, None, None, None] + colour[:, :3, 3].mean(1)[:, None, None, None]
    pixels = images[:, :3].flatten(2)  # [N, 3, R * R]
    pixels = torch.baddbmm(colour[:, :3, 3:], colour[:, :3, :3], pixels)
    return torch.cat([pixels.view_as(images[:, :3]), images[:, 3:]], 1)  # [N, C, R, R]


# ----------------------------------------------------------------------------------------- resampling


@lru_cache
def _resampling(resolution: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return matrices that resample one axis to a period of the reflected image at twice the resolution, and back.

    A reflected row of R pixels repeats after 2R - 2, so that P = 4R - 4 samples are a period.

    Returns:
        up: [P + 1, R]; the last row, for lookups between the last sample and the next, equals the first.
        down: [R, Q], Q = 2R + 10: from the 2R samples and those around them that the filter reaches.
    """
    period = 4 * (resolution - 1)
    up = torch.zeros(period + 1, resolution, dtype=torch.float64)
    down = torch.zeros(resolution, 2 * resolution + len(SYM6) - 2, dtype=torch.float64)
    samples, pixels = torch.arange(period + 1), torch.arange(resolution)
    for tap, weight in enumerate(SYM6):
        reached = samples[(samples + SYM6_CENTRE - tap) % 2 == 0]  # the samples at this distance from a pixel
        source = (reached + SYM6_CENTRE - tap) // 2 % (period // 2)
        source = torch.minimum(source, period // 2 - source)  # reflected
        up.index_put_((reached, source), torch.tensor(weight * math.sqrt(2), dtype=up.dtype), accumulate=True)
        down[pixels, 2 * pixels + tap] = weight / math.sqrt(2)
    return up.to(device, dtype), down.to(device, dtype)


def _lookup_places(inverse: Tensor, size: int, resolution: int) -> Tensor:
    """Return where each sample of the result lies in the period: [N, 3, 3] -> [N, Q, Q, 2] in [-1, 1]."""
    period, centre = size - 1, resolution - 1
    axis = torch.arange(2 * resolution + len(SYM6) - 2, dtype=inverse.dtype, device=inverse.device)  # [Q]
    axis = axis - SYM6_CENTRE - centre
    x, y = axis[None, :, None], axis[:, None, None]
    inverse = inverse[:, :, :, None, None, None]  # [N, 3, 3, 1, 1, 1]
    places = [inverse[:, k, 0] * x + inverse[:, k, 1] * y + 2 * inverse[:, k, 2] + centre for k in (0, 1)]
    return torch.cat(places, -1).remainder(period) * (2 / period) - 1


class _Lookup(torch.autograd.Function):
    """Look up x [N, C, H, W] bilinearly at grid [N, h, w, 2]: [N, C, h, w], differentiable in x to any order.

    It is linear in x, so the derivative of its adjoint is the lookup itself. PyTorch has not always known the second
    derivative of `grid_sample`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.size = x.shape[2:]
        return _bilinear(x, grid)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _LookupAdjoint.apply(grad, grid, ctx.size), None


class _LookupAdjoint(torch.autograd.Function):
    """Apply the transpose of `_Lookup`: grad [N, C, h, w] -> [N, C, *size]."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, grid: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(grid)
        if grad.is_cuda and torch.are_deterministic_algorithms_enabled():
            return _bilinear_adjoint(grad, grid, size)
        with torch.enable_grad():
            x = grad.new_zeros(*grad.shape[:2], *size).requires_grad_()  # [N, C, H, W]
            looked_up = _bilinear(x, grid)
        return torch.autograd.grad(looked_up, x, grad)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _Lookup.apply(grad, grid), None, None


def _bilinear(x: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _bilinear_adjoint(grad: Tensor, grid: Tensor, size: tuple[int, int]) -> Tensor:
    """Apply the transpose of `_bilinear`: [N, C, h, w] -> [N, C, *size].

    It adds up in the same order at every run; PyTorch's own transpose adds in any order on a GPU.
    """
    (n, c, _, _), (height, width) = grad.shape, size
    x = ((grid[..., 0] + 1) / 2 * (width - 1)).clamp(0, width - 1).flatten(1)  # [N, h * w]
    y = ((grid[..., 1] + 1) / 2 * (height - 1)).clamp(0, height - 1).flatten(1)
    left, top = x.floor(), y.floor()
    first = torch.arange(n, device=grad.device)[:, None] * (height * width)  # [N, 1], the first pixel of each image
    values = grad.flatten(2).transpose(0, 1)  # [C, N, h * w]
    result = grad.new_zeros(c, n * height * width)
    for column, horizontal in ((left, 1 - (x - left)), (left + 1, x - left)):
        for row, vertical in ((top, 1 - (y - top)), (top + 1, y - top)):
            # Beyond the border the weight is 0, so any pixel may be used there.
            pixel = first + row.long().clamp(max=height - 1) * width + column.long().clamp(max=width - 1)  # [N, h * w]
            result.index_add_(1, pixel.flatten(), (values * (horizontal * vertical)).flatten(1))
    return result.view(c, n, height, width).transpose(0, 1)  # [N, C, H, W]


# ----------------------------------------------------------------------------------------- controller


@dataclass(frozen=True)
class Controller:
    """The probability p, and what was observed since it last changed.

    The sums are tensors on the device while a training runs, so that observing does not wait for it.
    """

    p: float = 0.0
    sign_sum: Tensor | float = 0.0
    """sum of sign(D(real)) over the images"""
    shown: Tensor | float = 0
    """real images"""
    batches: int = 0


def observe(controller: Controller, sign_mean: Tensor, batch_size: int, skip: Tensor | None = None) -> Controller:
    """Return the controller after one more batch of real images.

    Args:
        controller: The controller before the batch.
        sign_mean: [], E[sign(D(real))] over the batch of all processes.
        batch_size: Real images in the batch, in all processes together.
        skip: []; if it is not 0, the images of the batch do not count.
    """
    if sign_mean.device.type != "mps":
        sign_mean = sign_mean.double()
    counts = torch.ones_like(sign_mean) if skip is None else (skip == 0).to(sign_mean)  # [], 1 or 0
    signs = torch.where(counts > 0, sign_mean * batch_size, torch.zeros_like(sign_mean))  # 0 too where sign_mean is NaN
    return Controller(
        controller.p, controller.sign_sum + signs, controller.shown + counts * batch_size, controller.batches + 1
    )


def adapt(controller: Controller, interval: int = 4, target: float = 0.6, ramp_nimg: float = 500_000) -> Controller:
    """Return the controller with its new p once `interval` batches were observed; only then wait for the device.

    Args:
        controller: The controller after the last batch.
        interval: Batches between two changes of p.
        target: Target of r_t, as in `next_p`.
        ramp_nimg: Images over which p can rise from 0 to 1, as in `next_p`.
    """
    if controller.batches < interval:
        return controller
    shown = int(controller.shown)
    if shown == 0:
        return Controller(controller.p)
    return Controller(next_p(controller.p, float(controller.sign_sum) / shown, shown, target, ramp_nimg))


def next_p(p: float, sign_mean: float, shown: int, target: float = 0.6, ramp_nimg: float = 500_000) -> float:
    """Return p moved one step so that r_t = E[sign(D(real))] approaches its target (section 3).

    An r_t above the target means overfitting and raises p.

    Args:
        p: The present probability, from 0 to 1.
        sign_mean: r_t over the images that were shown since p last changed.
        shown: Number of images that were shown since then.
        target: Target of r_t.
        ramp_nimg: Images over which p can rise from 0 to 1.
    """
    direction = (sign_mean > target) - (sign_mean < target)
    return min(1.0, max(0.0, p + direction * shown / ramp_nimg))
