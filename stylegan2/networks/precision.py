"""Compute networks in 16-bit numbers at their highest resolutions, where they spend most time and memory.

StyleGAN2-ADA (arXiv 2006.06676, appendix D.1) computes the four highest resolutions of both networks in float16, clamps
the activations there, and normalises weights and styles before a modulated convolution. Weights stay in float32.
"""

import math

import torch
from torch import Tensor

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.module import Module

CONV_CLAMP = 256.0  # activations of 16-bit layers stay within it, so that sums over 4,608 products fit into float16
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MIN_REDUCED_RESOLUTION = 8  # 4x4 pixels with their statistics over the batch are always computed in full precision


class Precision:
    """The resolutions of a network that are computed in 16-bit numbers: none until `set_precision` is called.

    Args:
        img_resolution: The network's highest resolution.
    """

    def __init__(self, img_resolution: int) -> None:
        self.img_resolution = img_resolution
        self.dtype = torch.float32
        self.lowest = math.inf  # the lowest resolution that is computed in `dtype`

    def is_reduced(self, resolution: int) -> bool:
        """Tell whether a resolution is computed in 16-bit numbers."""
        return resolution >= self.lowest

    def cast(self, x: Tensor, resolution: int, full: torch.dtype | None = None) -> Tensor:
        """Convert x to the type of a resolution: the reduced one, else `full`, or no change if that is None."""
        if self.is_reduced(resolution):
            return x.to(self.dtype)
        return x if full is None else x.to(full)

    def clamp(self, conv_clamp: float | None, resolution: int) -> float | None:
        """Return the limit of activations at a resolution: the network's own, or else CONV_CLAMP in 16-bit numbers."""
        return CONV_CLAMP if conv_clamp is None and self.is_reduced(resolution) else conv_clamp


def set_precision(network: Module, dtype: torch.dtype, num_resolutions: int = 4) -> None:
    """Let a generator or discriminator compute its highest resolutions in another type; its output stays float32.

    Weights, checkpoints and settings do not change. A network without reduced precision stays in float32.

    Args:
        network: A generator or discriminator, or a module that contains some.
        dtype: torch.float16, torch.bfloat16, or torch.float32 to return to full precision.
        num_resolutions: Number of the highest resolutions that change; 4x4 pixels always have full precision.

    Raises:
        UserError: The type is none of these.
    """
    if dtype not in DTYPES:
        raise UserError(f"networks can be computed in {', '.join(map(str, DTYPES))}, not in {dtype}")
    for module in network.modules():
        precision = getattr(module, "precision", None)
        if isinstance(precision, Precision):
            precision.dtype = dtype
            lowest = max(precision.img_resolution >> max(0, num_resolutions - 1), MIN_REDUCED_RESOLUTION)
            precision.lowest = lowest if dtype != torch.float32 and num_resolutions > 0 else math.inf


def normalised(weight: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    """Scale weights and styles so that a modulated convolution in float16 cannot overflow.

    Demodulation cancels both factors, so they need no gradient.

    Args:
        weight: [O, I, k, k].
        styles: [N, I], divided by the root of the fan-in.

    Returns:
        Weights of at most 1, and styles of at most 1 / sqrt(fan-in), in the same shapes.
    """
    largest = weight.detach().abs().amax([1, 2, 3], keepdim=True).clamp_min(1e-12)  # [O, 1, 1, 1]
    fan_in = weight[0].numel()
    return weight / largest, styles / (normaliser(styles) * math.sqrt(fan_in))


def normaliser(styles: Tensor) -> Tensor:
    """Return the largest absolute style of each sample, without a gradient: [N, I] -> [N, 1]."""
    return styles.detach().abs().amax(1, keepdim=True).clamp_min(1e-12)
