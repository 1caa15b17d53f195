"""The epilogue of a convolution (scale, noise, bias, leaky ReLU, clamp) and its gradients, each in one pass."""

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from stylegan2.ops.kernels.tiles import blocks_of, channels_last, quantum_of

TILES = 4  # tiles that a program processes one after the other


@triton.jit
def epilogue_place(pixels, C, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """Return the first tile of a program: sample, channels [CHANNELS], first pixel, and index of the pixel block."""
    program = tl.program_id(0)
    blocks = tl.cdiv(C, CHANNELS)
    c = (program % blocks) * CHANNELS + tl.arange(0, CHANNELS)
    program //= blocks
    blocks = tl.cdiv(pixels, PIXELS)
    return (program // blocks).to(tl.int64), c, (program % blocks) * PIXELS


@triton.jit(do_not_specialize=["pixels", "channel_groups", "scale_step", "noise_step"])
def epilogue_kernel(
    x,
    y,
    scale,
    noise,
    bias,
    clamp,
    pixels,  # pixels of a sample
    channel_groups,
    scale_step,  # stride from the scale of one sample to the next, 0 where all share one; likewise for the noise
    noise_step,
    SLOPE: tl.constexpr,
    QUANTUM: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    TILES: tl.constexpr,
):
    """Compute y = clamp(lrelu(x * scale + noise + bias)) on TILES tiles [PIXELS, CHANNELS]; terms may be None."""
    C = channel_groups * QUANTUM
    accumulator: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    n, c, first = epilogue_place(pixels, C, PIXELS * TILES, CHANNELS)
    if scale is not None:
        factor = tl.load(scale + n * scale_step + c, mask=c < C, other=0.0).to(accumulator)
    if bias is not None:
        shift = tl.load(bias + c, mask=c < C, other=0.0).to(accumulator)
    for tile in tl.static_range(TILES):
        start = first + tile * PIXELS
        p = tl.arange(0, PIXELS)
        left = pixels - start  # pixels from here to the end of the sample
        base = (n * pixels + start) * C
        mask = (p < left)[:, None] & (c < C)[None, :]
        offsets = p[:, None] * C + c[None, :]
        value = tl.load(x + base + offsets, mask=mask, other=0.0).to(accumulator)
        if scale is not None:
            value *= factor[None, :]
        if noise is not None:
            value += tl.load(noise + n * noise_step + start + p, mask=p < left, other=0.0).to(accumulator)[:, None]
        if bias is not None:
            value += shift[None, :]
        value = tl.where(value > 0, value, value * SLOPE)
        if clamp is not None:
            # Comparisons keep NaN, which tl.minimum would replace by a number.
            value = tl.where(value > clamp, clamp, tl.where(value < -clamp, -clamp, value))
        tl.store(y + base + offsets, value.to(y.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["samples", "pixels", "channel_groups", "scale_step"])
def epilogue_gradients_kernel(
    grad,
    x,
    scale,
    y,
    clamp,
    of_x,
    of_scale,  # [N, blocks, C], a sum for each block of pixels; likewise for the bias
    of_noise,  # [blocks, N, pixels], a sum for each block of channels
    of_bias,
    samples,
    pixels,
    channel_groups,
    scale_step,
    SLOPE: tl.constexpr,
    QUANTUM: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    TILES: tl.constexpr,
):
    """Compute g * scale and sums of g * x and g, where g is grad if y > 0, 0 if y is clamped, and else grad * SLOPE."""
    C = channel_groups * QUANTUM
    accumulator: tl.constexpr = tl.float64 if grad.dtype.element_ty == tl.float64 else tl.float32
    n, c, first = epilogue_place(pixels, C, PIXELS * TILES, CHANNELS)
    if scale is not None:
        factor = tl.load(scale + n * scale_step + c, mask=c < C, other=0.0).to(accumulator)
    sum_gx = tl.zeros([PIXELS, CHANNELS], accumulator)
    sum_g = tl.zeros([PIXELS, CHANNELS], accumulator)
    for tile in tl.static_range(TILES):
        start = first + tile * PIXELS
        p = tl.arange(0, PIXELS)
        left = pixels - start
        base = (n * pixels + start) * C
        mask = (p < left)[:, None] & (c < C)[None, :]
        offsets = p[:, None] * C + c[None, :]
        g = tl.load(grad + base + offsets, mask=mask, other=0.0).to(accumulator)
        if y is not None:
            out = tl.load(y + base + offsets, mask=mask, other=0.0).to(accumulator)
            g = tl.where(out > 0, g, g * SLOPE)
            if clamp is not None:
                limit = tl.full([1, 1], clamp, y.dtype.element_ty).to(accumulator)  # as the result was rounded
                g = tl.where(tl.abs(out) < limit, g, 0.0)
        if of_scale is not None:
            sum_gx += g * tl.load(x + base + offsets, mask=mask, other=0.0).to(accumulator)
        if of_bias is not None:
            sum_g += g
        if of_noise is not None:
            block = (tl.program_id(0) % tl.cdiv(C, CHANNELS)).to(tl.int64)
            target = of_noise + (block * samples + n) * pixels + start + p
            tl.store(target, tl.sum(g, axis=1), mask=p < left)
        if scale is not None:
            g *= factor[None, :]
        tl.store(of_x + base + offsets, g.to(of_x.dtype.element_ty), mask=mask)
    row = (n * tl.cdiv(pixels, PIXELS * TILES) + first // (PIXELS * TILES)) * C
    if of_scale is not None:
        tl.store(of_scale + row + c, tl.sum(sum_gx, axis=0), mask=c < C)
    if of_bias is not None:
        tl.store(of_bias + row + c, tl.sum(sum_g, axis=0), mask=c < C)


def apply_epilogue(
    x: Tensor,
    scale: Tensor | None,
    noise: Tensor | None,
    bias: Tensor | None,
    slope: float,
    clamp: float | None,
    overwrite: bool = False,
) -> Tensor:
    """Compute `stylegan2.ops.epilogue.epilogue` with any slope; `overwrite` x where it is in channels_last."""
    x = channels_last(x)
    c, h, w = x.shape[1:]
    y = x if overwrite else torch.empty_like(x)
    settings = epilogue_settings(c, x.element_size())
    programs = epilogue_programs(x, settings)
    arguments = (
        contiguous(scale),
        contiguous(noise),
        contiguous(bias),
        None if clamp is None else float(clamp),
        h * w,
        c // settings["QUANTUM"],
        c if scale is not None and len(scale) > 1 else 0,
        h * w if noise is not None and noise.numel() > h * w else 0,
    )
    if programs:
        with torch.cuda.device_of(x):
            epilogue_kernel[(programs,)](x, y, *arguments, SLOPE=slope, **settings)
    return y


def epilogue_gradients(
    grad: Tensor,
    x: Tensor | None,
    scale: Tensor | None,
    noise: Tensor | None,
    bias: Tensor | None,
    y: Tensor | None,
    slope: float,
    clamp: float | None,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Compute the gradients of x, scale, noise and bias in one pass.

    `y` is the result of the epilogue, or None if there is neither slope nor clamp. The gradient of the scale is None
    where x is None; the gradients of noise and bias are None where these are.
    """
    grad = channels_last(grad)
    x, y = (None if tensor is None else channels_last(tensor) for tensor in (x, y))
    n, c, h, w = grad.shape
    settings = epilogue_settings(c, grad.element_size())
    programs = epilogue_programs(grad, settings)
    rows = triton.cdiv(h * w, settings["PIXELS"] * settings["TILES"])
    of_x = torch.empty_like(grad)
    sums = {"dtype": torch.promote_types(grad.dtype, torch.float32), "device": grad.device}
    of_scale = None if x is None or scale is None else torch.empty(n, rows, c, **sums)
    of_noise = None if noise is None else torch.empty(triton.cdiv(c, settings["CHANNELS"]), n, h, w, **sums)
    of_bias = None if bias is None else torch.empty(n, rows, c, **sums)
    arguments = (
        None if of_scale is None else x,
        contiguous(scale),
        y,
        None if clamp is None else float(clamp),
        of_x,
        of_scale,
        of_noise,
        of_bias,
        n,
        h * w,
        c // settings["QUANTUM"],
        c if scale is not None and len(scale) > 1 else 0,
    )
    if programs:
        with torch.cuda.device_of(grad):
            epilogue_gradients_kernel[(programs,)](grad, *arguments, SLOPE=slope, **settings)
    if of_scale is not None and scale is not None:
        of_scale = of_scale.sum(1).sum_to_size(scale.shape).to(scale.dtype)
    if of_noise is not None and noise is not None:
        of_noise = of_noise.sum(0)[:, None].sum_to_size(noise.shape).to(noise.dtype)
    if of_bias is not None and bias is not None:
        of_bias = of_bias.sum((0, 1)).to(bias.dtype)
    return of_x, of_scale, of_noise, of_bias


@lru_cache
def epilogue_settings(channels: int, itemsize: int) -> dict[str, int]:
    """Return the constants for which the kernels of the epilogue are compiled."""
    block_pixels, block_channels = blocks_of(channels, itemsize)
    return {
        "QUANTUM": quantum_of(channels, itemsize),
        "PIXELS": block_pixels,
        "CHANNELS": block_channels,
        "TILES": TILES,
        "enable_fp_fusion": True,
    }


def epilogue_programs(x: Tensor, settings: dict[str, int]) -> int:
    n, c, h, w = x.shape
    return n * triton.cdiv(h * w, settings["PIXELS"] * settings["TILES"]) * triton.cdiv(c, settings["CHANNELS"])


def contiguous(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()
