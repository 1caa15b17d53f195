"""Swap layers between two generators (Pinkney and Adler 2020, arXiv 2010.05334): one gives shapes, one texture.

It works between a generator and one that was fine-tuned from it, because their features still have the same meaning.
"""

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from stylegan2.networks import protocols
from stylegan2.networks.sizes import resolutions
from stylegan2.networks.stylegan2 import Generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import built_as

NOISE_MAP = "noise_const"


def blend(base: protocols.Generator, style: protocols.Generator, swap_from: int, ramp: int = 0) -> Generator:
    """Build a generator from the layers of `base` below a resolution and those of `style` from there on.

    Args:
        base: The generator that provides the coarse layers, the mapping network and the mean of W.
        style: The generator that provides the fine layers.
        swap_from: The first resolution with a share of the style, from 8 to the resolution of the generators.
        ramp: Number of resolutions over which the share of the style rises in equal steps; 0 swaps at once.

    Returns:
        A generator in evaluation mode; `base` and `style` are not changed.

    Raises:
        UserError: The generators differ in architecture or size, or there is no such resolution.
    """
    base, style = _stylegan2(base), _stylegan2(style)
    _check(base, style, swap_from, ramp)
    blended = copy.deepcopy(base).requires_grad_(False).eval()
    pairs = zip(_parts(blended), _parts(style), strict=True)
    for (part, resolution), (other, _) in pairs:
        share = style_share(resolution, swap_from, ramp)
        _mix(part, dict(other.state_dict(keep_vars=True)), share)
    return blended.requires_grad_(True)


def style_share(resolution: int, swap_from: int, ramp: int = 0) -> float:
    """Return the share of the style in a layer: 0 below swap_from, 1 from `ramp` doublings above it on."""
    return min(max((math.log2(resolution / swap_from) + 1) / (ramp + 1), 0.0), 1.0)


def _parts(generator: Generator) -> Iterator[tuple[nn.Module, int]]:
    """Yield every layer of the synthesis network that has weights, with the resolution of its output."""
    synthesis, sizes = generator.synthesis, resolutions(generator.img_resolution)
    for k, layer in enumerate(synthesis.layers):  # one layer of 4 px, two of each other size
        yield layer, sizes[(k + 1) // 2]
    yield from zip(synthesis.to_rgbs, sizes[-len(synthesis.to_rgbs) :], strict=True)
    yield from zip(synthesis.skips, sizes[1:], strict=False)  # only the residual architecture has skips


@torch.no_grad()
def _mix(part: nn.Module, other: dict[str, Tensor], share: float) -> None:
    for name, tensor in part.state_dict(keep_vars=True).items():
        if name == NOISE_MAP:  # the maps are drawn, not learned, and the mean of two would be weaker than either
            tensor.copy_(other[name] if share >= 0.5 else tensor)
        else:
            tensor.lerp_(other[name], share)


def _stylegan2(generator: protocols.Generator) -> Generator:
    if not isinstance(generator, Generator):
        raise UserError(
            f"layers can only be swapped between StyleGAN2 generators, not with a {type(generator).__name__}"
        )
    return generator


def _check(base: Generator, style: Generator, swap_from: int, ramp: int) -> None:
    settings, others = built_as(base), built_as(style)
    different = [name for name, value in settings.items() if others[name] != value]
    if different:
        reasons = ", ".join(f"{name} is {settings[name]} and {others[name]}" for name in different)
        raise UserError(f"layers can only be swapped between generators of the same sizes, but {reasons}")
    allowed = resolutions(base.img_resolution)[1:]
    if swap_from not in allowed:
        raise UserError(f"swap_from must be one of {', '.join(map(str, allowed))}, not {swap_from}")
    if ramp < 0:
        raise UserError(f"ramp must not be negative, but is {ramp}")
