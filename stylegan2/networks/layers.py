"""Layers that PGGAN, StyleGAN and StyleGAN2 share.

PGGAN brought the equalized learning rate (section 4.1) and minibatch standard deviation (section 3), StyleGAN2 the
modulated convolution and the residual block.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan2 import ops
from stylegan2.networks.precision import normalised
from stylegan2.runtime.randomness import draw_shard


class EqualLinear(nn.Module):
    """Linear layer with an equalized learning rate (PGGAN, section 4.1).

    The stored weight is drawn from N(0, 1 / lr_multiplier^2) and scaled by He's constant at run time. An adaptive
    optimizer therefore changes it `lr_multiplier` times as fast as the weight of a layer of scale 1.

    Args:
        in_features: Size of the input.
        out_features: Size of the output.
        bias_init: Initial value of the bias.
        lr_multiplier: Learning rate relative to that of the other layers.
        activate: Apply a leaky ReLU with a gain of sqrt(2).
        scale_bias: Apply that gain to the bias, as StyleGAN2 does; earlier networks apply it to the weight alone.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
        activate: bool = False,
        scale_bias: bool = True,
    ) -> None:
        super().__init__()
        # In place: on the meta device, most other arithmetic imports PyTorch's compiler, which takes half a second.
        self.weight = nn.Parameter(torch.randn(out_features, in_features).div_(lr_multiplier))
        self.bias = nn.Parameter(torch.full([out_features], float(bias_init) / lr_multiplier))
        self.lr_multiplier = lr_multiplier
        self.activate = activate
        self.scale_bias = scale_bias

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, in_features] to [N, out_features], in the type of the weight."""
        gain = ops.LRELU_GAIN if self.activate else 1.0
        bias_gain = gain if self.scale_bias else 1.0
        weight = self.weight * (gain * self.lr_multiplier / math.sqrt(self.weight.shape[1]))
        with ops.full_precision(x):
            x = F.linear(x.to(weight.dtype), weight, self.bias * (bias_gain * self.lr_multiplier))  # [N, out_features]
        return ops.leaky_relu(x) if self.activate else x


class EqualConv2d(nn.Module):
    """Convolution with an equalized learning rate, and optionally 2x downsampling and a leaky ReLU.

    Downsampling filters first. A 1x1 kernel is applied at the low resolution, which is cheaper and gives the same
    result.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Side of the kernel in pixels, 1 or 3.
        downsample: Halve the resolution.
        bias: Add a bias.
        activate: Apply a leaky ReLU with a gain of sqrt(2).
        gain: Factor of the output; residual branches have sqrt(1/2).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        downsample: bool = False,
        bias: bool = True,
        activate: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.downsample = downsample
        self.activate = activate
        self.gain = gain

    def forward(self, x: Tensor, clamp: float | None = None) -> Tensor:
        """Convolve x [N, in_channels, H, W].

        Args:
            x: Feature maps; the output has their type.
            clamp: Largest absolute value of the output before the gain; None for no limit.

        Returns:
            [N, out_channels, H, W], or [N, out_channels, H/2, W/2] with downsampling.
        """
        kernel = self.weight.shape[-1]
        gain = self.gain * (ops.LRELU_GAIN if self.activate else 1.0)
        weight = (self.weight * (gain / math.sqrt(self.weight[0].numel()))).to(x.dtype)
        bias, own_bias = ops.place_bias(x, None if self.bias is None else self.bias * gain)
        if self.downsample and kernel == 1:
            x = ops.conv2d(ops.downsample2x(x), weight, bias)  # [N, out_channels, H/2, W/2]
        elif self.downsample:
            x = ops.blur(x, padding=2)  # [N, in_channels, H+1, W+1]
            x = ops.conv2d(x, weight, bias, stride=2)  # [N, out_channels, H/2, W/2]
        else:
            x = ops.conv2d(x, weight, bias, padding=kernel // 2)  # [N, out_channels, H, W]
        clamp = None if clamp is None else clamp * self.gain
        return ops.epilogue(x, bias=own_bias, activate=self.activate, clamp=clamp)


class HeConv2d(nn.Module):
    """Convolution and bias with He's constant sqrt(2 / fan_in) in the weight (PGGAN, section 4.1), and a leaky ReLU.

    Even kernels, which are 4x4 to and from a single pixel, have no padding.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Side of the kernel in pixels.
        resample: "up" for nearest-neighbour upsampling before the convolution, "down" for averaging after it, "none".
        low_pass: Filter with [1, 2, 1] before the convolution (StyleGAN, section 2.1).
        activate: Apply the leaky ReLU; without it the constant is sqrt(1 / fan_in).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        resample: str = "none",
        low_pass: bool = False,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.resample, self.low_pass, self.activate = resample, low_pass, activate

    def forward(self, x: Tensor, clamp: float | None = None) -> Tensor:
        """Convolve x [N, in_channels, H, W].

        Args:
            x: Feature maps; the output has their type.
            clamp: Largest absolute value of the output; None for no limit.

        Returns:
            [N, out_channels, H, W], or twice or half of that height and width with resampling.
        """
        kernel, gain = self.weight.shape[-1], ops.LRELU_GAIN if self.activate else 1.0
        weight = (self.weight * (gain / math.sqrt(self.weight[0].numel()))).to(x.dtype)
        bias, own_bias = ops.place_bias(x, self.bias)
        if self.low_pass:
            x = ops.binomial_blur(x)
        if self.resample == "up":
            x = ops.upsample_conv2d(x, weight, bias)  # [N, out_channels, 2H, 2W]
        elif self.resample == "down":
            x = ops.downsample_conv2d(x, weight, bias)  # [N, out_channels, H/2, W/2]
        else:
            x = ops.conv2d(x, weight, bias, padding=kernel // 2 if kernel % 2 else 0)  # [N, out_channels, H, W]
        return ops.epilogue(x, bias=own_bias, activate=self.activate, clamp=clamp)


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, demodulation, noise, bias and leaky ReLU (StyleGAN2, figure 2c).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        w_dim: Size of the latent w.
        resolution: Pixels of a side of the output.
        upsample: Double the resolution.
        gain: Factor of the output; residual branches have sqrt(1/2).
    """

    noise_const: Tensor  # [resolution, resolution], the noise of noise_mode="const"

    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, resolution: int, upsample: bool, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.upsample = upsample
        self.gain = gain

    def forward(self, x: Tensor, w: Tensor, noise_mode: str, clamp: float | None) -> Tensor:
        """Compute the feature maps of a style.

        Args:
            x: [N, in_channels, H, W]; the output has its type.
            w: [N, w_dim].
            noise_mode: "const" (the stored map), "random" (fresh, from the global generator) or "none".
            clamp: Largest absolute value of the output before the gain; None for no limit.

        Returns:
            [N, out_channels, resolution, resolution].
        """
        gain = self.gain * ops.LRELU_GAIN
        weight = self.weight
        styles = self.affine(w) / math.sqrt(weight[0].numel())  # [N, I]; He's constant, here on the smaller factor
        if x.dtype == torch.float16:
            weight, styles = normalised(weight, styles)
        scale = ops.demodulation(weight, styles) * gain  # [N, O]
        noise = None if noise_mode == "none" else self.noise(x, noise_mode) * (self.noise_strength * gain)
        clamp = None if clamp is None else clamp * self.gain
        return ops.styled_conv2d(x, weight, styles, scale, self.bias * gain, noise, clamp, self.upsample)

    def noise(self, x: Tensor, mode: str) -> Tensor:
        """Return the noise of a layer's output: [resolution, resolution] or [N, 1, resolution, resolution]."""
        if mode == "const":
            return self.noise_const
        sides, like_x = self.noise_const.shape, {"dtype": x.dtype, "device": x.device}
        return draw_shard(lambda count: torch.randn(count, 1, *sides, **like_x), len(x))


class ToRGB(nn.Module):
    """Modulated 1x1 convolution without demodulation (StyleGAN2, figure 7); images have full precision.

    Args:
        in_channels: Channels of the input.
        img_channels: Channels of the images.
        w_dim: Size of the latent w.
    """

    def __init__(self, in_channels: int, img_channels: int, w_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)

    def forward(self, x: Tensor, w: Tensor, clamp: float | None) -> Tensor:
        """Turn x [N, in_channels, H, W] and w [N, w_dim] into images [N, img_channels, H, W] within the clamp."""
        styles = self.affine(w) / math.sqrt(self.weight.shape[1])  # [N, I]
        scale = styles.new_ones(1, len(self.bias))  # [1, img_channels]
        x = ops.modulated_conv2d(x, self.weight, styles, scale, self.bias).to(self.weight.dtype)  # [N, channels, H, W]
        return x if clamp is None else x.clamp(-clamp, clamp)


class DiscriminatorBlock(nn.Module):
    """Two 3x3 convolutions; the second halves the resolution (StyleGAN2, figure 7).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        residual: Add a 1x1 convolution of the input to their output.
    """

    def __init__(self, in_channels: int, out_channels: int, residual: bool) -> None:
        super().__init__()
        gain = math.sqrt(0.5) if residual else 1.0
        self.conv0 = EqualConv2d(in_channels, in_channels, 3)
        self.conv1 = EqualConv2d(in_channels, out_channels, 3, downsample=True, gain=gain)
        self.skip = (
            EqualConv2d(in_channels, out_channels, 1, downsample=True, bias=False, activate=False, gain=gain)
            if residual
            else None
        )

    def forward(self, x: Tensor, clamp: float | None = None) -> Tensor:
        """Map x [N, in_channels, H, W] to [N, out_channels, H/2, W/2]; `clamp` limits both convolutions."""
        y = self.conv1(self.conv0(x, clamp), clamp)  # [N, out_channels, H/2, W/2]
        return y if self.skip is None else y + self.skip(x)


def normalize_2nd_moment(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Scale x [N, C, ...] so that its mean square over dimension 1 is 1: the pixel norm of PGGAN, section 4.2."""
    square = x.float().square() if x.dtype == torch.float16 else x.square()  # float16 would overflow
    return x * (square.mean(1, keepdim=True) + eps).rsqrt().to(x.dtype)


def minibatch_stddev(x: Tensor, group: int, channels: int = 1, parts: int = 1) -> Tensor:
    """Append the standard deviation over groups of samples as feature maps (PGGAN, section 3).

    Args:
        x: [N, C, H, W].
        group: Samples in a group; if it does not divide the batch, the greatest common divisor of both is used.
        channels: Number of statistics to append, each of C / channels features.
        parts: Number of independent batches that are stacked in x; fakes and reals in one pass must not share groups.

    Returns:
        [N, C + channels, H, W].
    """
    return torch.cat([_with_stddev(part, group, channels) for part in x.chunk(parts)])


def _with_stddev(x: Tensor, group: int, channels: int) -> Tensor:
    """Append its own statistics to one batch: [N, C, H, W] -> [N, C + channels, H, W]."""
    n, c, h, w = x.shape
    group = math.gcd(n, group)
    # Strided groups: sample i is grouped with i + N/G, so a strided sharding over processes keeps the groups.
    y = x.reshape(group, n // group, channels, c // channels, h, w)  # [G, M, F, C/F, H, W]
    y = (y.var(0, unbiased=False) + 1e-8).sqrt()  # [M, F, C/F, H, W]
    y = y.mean([2, 3, 4])  # [M, F]
    y = y.repeat(group, 1)[:, :, None, None].expand(-1, -1, h, w)  # [N, F, H, W]
    return torch.cat([x, y], dim=1)  # [N, C + F, H, W]


def add_correction(x: Tensor, features: Tensor | None) -> Tensor:
    """Add a correction to feature maps of the same resolution, and leave others unchanged.

    Args:
        x: [N, C, H, W].
        features: [N, C, h, w], or None if nothing is corrected.
    """
    if features is None or x.shape[2:] != features.shape[2:]:
        return x
    return x + features.to(x.dtype)
