"""Modulated convolution and demodulation (StyleGAN2, section 2.2)."""

import torch
from torch import Tensor

from stylegan2.ops.convolution import conv2d, conv_transpose2d, conv_transpose2d_by_phases, phases_pay
from stylegan2.ops.dispatch import full_precision, kernels_for
from stylegan2.ops.epilogue import epilogue, scaled
from stylegan2.ops.fir import blur


def demodulation(weight: Tensor, styles: Tensor, eps: float = 1e-8) -> Tensor:
    """Compute the demodulation factors 1 / sqrt(sum_{i,k} (s_i w_ijk)^2 + eps) (StyleGAN2, eq. 3).

    No weight per sample is built.

    Args:
        weight: [O, I, k, k].
        styles: [N, I].
        eps: Added to the sum.

    Returns:
        [N, O].
    """
    with full_precision(styles):
        energy = weight.square().sum([2, 3])  # [O, I]
        return (styles.square() @ energy.t() + eps).rsqrt()  # [N, O]


def modulated_conv2d(
    x: Tensor, weight: Tensor, styles: Tensor, scale: Tensor, bias: Tensor, upsample: bool = False
) -> Tensor:
    """Compute a modulated convolution (StyleGAN2, eq. 1), then apply a factor for each output channel and a bias.

    The factors combine demodulation and gains. Several samples share one weight, as scaling the input channels equals
    scaling the weight. For a single sample without gradients, all factors go into its own weight, which saves two
    passes over the feature maps.

    Args:
        x: [N, I, H, W].
        weight: [O, I, k, k].
        styles: [N, I], times the equalized-learning-rate factor of the weight.
        scale: [N, O] or [1, O].
        bias: [O].
        upsample: Use a transposed convolution of stride 2, followed by the low-pass filter with gain 4.

    Returns:
        [N, O, H, W], or [N, O, 2H, 2W] when upsampling.
    """
    if (
        x.shape[0] == 1 and not torch.is_grad_enabled()
    ):  # not len(x), which would fix the batch size of an exported graph
        factors = scale.t() * styles  # [O, I]
        weight = (weight * factors[:, :, None, None]).to(x.dtype)
        return _convolution(x, weight, bias.to(x.dtype), upsample)
    x = _convolution(scaled(x, styles), weight.to(x.dtype), None, upsample)
    return torch.addcmul(bias[:, None, None].to(x.dtype), x, scale[:, :, None, None].to(x.dtype))  # one pass for both


def styled_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    scale: Tensor,
    bias: Tensor,
    noise: Tensor | None = None,
    clamp: float | None = None,
    upsample: bool = False,
) -> Tensor:
    """Compute a layer of StyleGAN2 (figure 2c): `modulated_conv2d`, noise, leaky ReLU without gain, and clamp.

    Args:
        x, weight, styles, scale, bias, upsample: As in `modulated_conv2d`.
        noise: [H, W] or [N, 1, H, W], where H and W are those of the result.
        clamp: Largest absolute value; None for no limit.

    Returns:
        [N, O, H, W], or [N, O, 2H, 2W] when upsampling.
    """
    if kernels_for(x) is None:
        return epilogue(modulated_conv2d(x, weight, styles, scale, bias, upsample), noise=noise, clamp=clamp)
    x = _convolution(scaled(x, styles), weight.to(x.dtype), None, upsample)
    return epilogue(x, scale, noise, bias, clamp=clamp)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, upsample: bool) -> Tensor:
    """Convolve x [N, I, H, W] with weight [O, I, k, k]: [N, O, H, W], or [N, O, 2H, 2W] when upsampling."""
    if not upsample:
        return conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
    if phases_pay(x) and not torch.is_grad_enabled():
        x = conv_transpose2d_by_phases(x, weight)  # [N, O, 2H+1, 2W+1]
    else:
        # The copy is dense, because CPU kernels take up to four times as long with a transposed view.
        weight = weight.transpose(0, 1).contiguous(memory_format=torch.channels_last)  # [I, O, k, k]
        x = conv_transpose2d(x, weight, stride=2)  # [N, O, 2H+1, 2W+1]
    return blur(x, padding=1, gain=4.0, bias=bias)  # [N, O, 2H, 2W]


def single_samples_pay(styles: Tensor) -> bool:
    """Return whether samples [N, ...] are rendered faster one by one: on a CPU, in float32, without gradients.

    Each sample then has a weight of its own that holds all factors, which saves `modulated_conv2d` two passes over
    large feature maps: four images of 1024 px take 3.3 s of a core one by one, and 3.7 s together.
    """
    plain = styles.device.type == "cpu" and styles.dtype == torch.float32
    return plain and len(styles) > 1 and not torch.is_grad_enabled()
