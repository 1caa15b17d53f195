"""StyleGAN (Karras et al. 2018, arXiv 1812.04948): mapping network, AdaIN, noise, growing.

With weight demodulation in place of AdaIN it is the growing generator of StyleGAN2's configurations B to D (arXiv
1912.04958, table 1 and figure 2c): noise and bias outside the style block, the constant input bare.
"""

import math
from itertools import pairwise
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan2 import ops
from stylegan2.networks import growing
from stylegan2.networks.growing import GrowthState, enlarge_or_average, fade
from stylegan2.networks.layers import EqualLinear, HeConv2d, SynthesisLayer, ToRGB, add_correction
from stylegan2.networks.mapping import Mapping
from stylegan2.networks.precision import Precision
from stylegan2.networks.protocols import TwoPartGenerator
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS, TINY_GROWING, Preset, Settings
from stylegan2.networks.sizes import check_sizes, feature_maps, num_ws_at, resolutions
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.randomness import draw_shard
from stylegan2.runtime.ranges import Layers, Positive, Size

Normalization = Literal["adain", "demodulation"]
NORMALIZATIONS: tuple[str, ...] = get_args(Normalization)


def check_normalization(normalization: str) -> None:
    """Raise a UserError unless there is a normalization of that name."""
    if normalization not in NORMALIZATIONS:
        raise UserError(f"there is no normalization {normalization!r}: choose one of {', '.join(NORMALIZATIONS)}")


def adain(x: Tensor, styles: Tensor, eps: float = 1e-8) -> Tensor:
    """Adaptive instance normalization, y_s (x - mu(x)) / sigma(x) + y_b for each feature map (eq. 1).

    Args:
        x: [N, C, H, W].
        styles: y_s and y_b, [N, 2C].
        eps: Added to the variance.

    Returns:
        [N, C, H, W].
    """
    scale, shift = styles[:, :, None, None].chunk(2, dim=1)  # [N, C, 1, 1] each
    x = x - x.mean([2, 3], keepdim=True)
    square = x.float().square() if x.dtype == torch.float16 else x.square()  # float16 would overflow
    variance = square.mean([2, 3], keepdim=True)  # [N, C, 1, 1]; torch.var_mean is three times slower on a CPU
    return torch.addcmul(shift.to(x.dtype), x, (scale * (variance + eps).rsqrt()).to(x.dtype))


class StyledLayer(nn.Module):
    """3x3 convolution, noise, bias, leaky ReLU and AdaIN (figure 1b).

    Upsampling takes nearest neighbours and filters with [1, 2, 1] after the convolution (section 2.1).

    Args:
        in_channels: Channels of the input; None for the first layer, which has no convolution.
        out_channels: Channels of the output.
        w_dim: Size of the latent w.
        resolution: Pixels of a side of the output.
        upsample: Double the resolution.
    """

    noise_const: Tensor  # [resolution, resolution], the noise of noise_mode="const"

    def __init__(self, in_channels: int | None, out_channels: int, w_dim: int, resolution: int, upsample: bool) -> None:
        super().__init__()
        self.weight = None if in_channels is None else nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(out_channels))
        self.affine = EqualLinear(w_dim, 2 * out_channels)
        with torch.no_grad():
            self.affine.bias[:out_channels] = 1.0  # appendix C: the scales start at 1
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.upsample = upsample

    def forward(self, x: Tensor, w: Tensor, noise_mode: str, clamp: float | None) -> Tensor:
        """Compute the feature maps of a style.

        Args:
            x: [N, in_channels, H, W]; the output has its type.
            w: [N, w_dim].
            noise_mode: "const" (the stored map), "random" (fresh, from the global generator) or "none".
            clamp: Largest absolute value before AdaIN; None for no limit.

        Returns:
            [N, out_channels, resolution, resolution].
        """
        x = self.convolution(x)  # [N, C, H, W]
        if noise_mode != "none":
            x = x + self.noise(x, noise_mode) * self.noise_strength[:, None, None].to(x.dtype)
        x = ops.leaky_relu(x + self.bias[:, None, None].to(x.dtype))
        return adain(x if clamp is None else x.clamp(-clamp, clamp), self.affine(w))

    def convolution(self, x: Tensor) -> Tensor:
        if self.weight is None:
            return x
        weight = (self.weight * (ops.LRELU_GAIN / math.sqrt(self.weight[0].numel()))).to(x.dtype)
        if self.upsample:
            return ops.binomial_blur(ops.upsample_conv2d(x, weight))  # [N, C, 2H, 2W]
        return F.conv2d(x, weight, padding=1)  # [N, C, H, W]

    def noise(self, x: Tensor, mode: str) -> Tensor:
        if mode == "const":
            return self.noise_const.to(x.dtype)
        like_x = {"dtype": x.dtype, "device": x.device}
        return draw_shard(lambda count: torch.randn(count, 1, *x.shape[2:], **like_x), len(x))  # [N, 1, H, W]


class Synthesis(nn.Module):
    """The synthesis network g: layer k reads ws[:, k]; a ToRGB with styles in block j reads ws[:, 2j + 1].

    Args:
        w_dim: Size of the latent w.
        img_resolution: Pixels of a side of the images.
        img_channels: Channels of the images.
        channel_base: Channels are min(channel_base / resolution, channel_max).
        channel_max: Most channels of a layer.
        normalization: "adain", or "demodulation" as in StyleGAN2's configurations B to D.
    """

    def __init__(
        self,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int,
        channel_max: int,
        normalization: str,
    ) -> None:
        super().__init__()
        self.img_resolution = img_resolution
        self.demodulates = normalization == "demodulation"
        sizes = resolutions(img_resolution)
        widths = [feature_maps(r, channel_base, channel_max) for r in sizes]
        self.feature_channels = dict(zip(sizes, widths, strict=True))
        shape = (1, widths[0], 4, 4)
        self.const = nn.Parameter(torch.randn(shape) if self.demodulates else torch.ones(shape))
        layer = SynthesisLayer if self.demodulates else StyledLayer
        first = [] if self.demodulates else [StyledLayer(None, widths[0], w_dim, 4, upsample=False)]
        self.layers = nn.ModuleList([*first, layer(widths[0], widths[0], w_dim, 4, upsample=False)])
        for (previous, width), size in zip(pairwise(widths), sizes[1:], strict=True):
            self.layers.append(layer(previous, width, w_dim, size, upsample=True))
            self.layers.append(layer(width, width, w_dim, size, upsample=False))
        self.to_rgbs = nn.ModuleList(
            ToRGB(width, img_channels, w_dim) if self.demodulates else HeConv2d(width, img_channels, 1, activate=False)
            for width in widths
        )
        self.growth = GrowthState(img_resolution)
        self.precision = Precision(img_resolution)

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        resolution: int | None = None,
        alpha: float = 1.0,
        features: Tensor | None = None,
    ) -> Tensor:
        """Turn latents into images.

        Args:
            ws: [N, num_ws, w_dim].
            noise_mode: "const" (the stored maps), "random" (fresh, from the global generator) or "none".
            resolution: The resolution that growing has reached; by default the one that the generator remembers, whose
                images are enlarged to R.
            alpha: How far that resolution has faded in, from 0 to 1.
            features: [N, feature_channels[r], r, r], added to the output of the block whose resolution is r.

        Returns:
            [N, img_channels, resolution, resolution], or R by R by default, about in [-1, 1] but not clamped.
        """
        size, alpha = self.growth.reached if resolution is None else (resolution, alpha)
        last = resolutions(size).index(size)
        x = previous = self.first_maps(ws)  # [N, C, 4, 4]
        for block in range(last + 1):
            previous = x
            x = add_correction(self.next_maps(x, ws, block, noise_mode), features)  # [N, C, r, r]
        images = self.to_rgb(last, x, ws)  # [N, img_channels, size, size]
        if alpha < 1:
            images = fade(self.to_rgb(last - 1, previous, ws), images, alpha)
        return enlarge_or_average(images, self.img_resolution) if resolution is None else images

    def features_at(self, ws: Tensor, side: int, noise_mode: str = "const") -> Tensor:
        """Compute the feature maps of one resolution, to which `forward` adds `features`.

        Args:
            ws: [N, num_ws, w_dim].
            side: The resolution in pixels, a key of `feature_channels`.
            noise_mode: As in `forward`.

        Returns:
            [N, feature_channels[side], side, side], without a correction.
        """
        x = self.first_maps(ws)  # [N, C, 4, 4]
        for block in range(resolutions(side).index(side) + 1):
            x = self.next_maps(x, ws, block, noise_mode)  # [N, C, r, r]
        return x

    def first_maps(self, ws: Tensor) -> Tensor:
        """Repeat the constant input for every code: [N, C, 4, 4]."""
        x = self.const.expand(ws.shape[0], -1, -1, -1)  # [N, C, 4, 4]
        return x.contiguous(memory_format=torch.channels_last)

    def next_maps(self, x: Tensor, ws: Tensor, block: int, noise_mode: str) -> Tensor:
        """Compute a block's feature maps [N, C, r, r] from those of the block before it, or from the constant."""
        size = 4 << block
        x, clamp = self.precision.cast(x, size), self.precision.clamp(None, size)
        for k in self.rows(block):
            x = self.layers[k](x, ws[:, k], noise_mode, clamp)  # [N, C, r, r]
        return x

    def rows(self, block: int) -> range:
        """Return the indices of a block's layers: two, but one in the first block with demodulation."""
        start = 2 * block - self.demodulates
        return range(max(0, start), start + 2)

    def to_rgb(self, block: int, x: Tensor, ws: Tensor) -> Tensor:
        """Turn feature maps [N, C, r, r] into images [N, img_channels, r, r] in full precision."""
        layer = self.to_rgbs[block]
        if self.demodulates:
            return layer(x, ws[:, 2 * block + 1], clamp=None)
        return layer(x).to(layer.weight.dtype)


# Table 1 of StyleGAN2, configuration A.
PUBLISHED: Settings = {
    "grow_from": 8,
    "batch_size": 32,
    "batch_sizes": {8: 256, 16: 128, 32: 64, 64: 32},
    "learning_rate": 0.001,
    "learning_rates": {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003},
    "r1_gamma": 10.0,
    "lazy_r1": False,
    "path_length_interval": 0,
    "ema_rampup": None,
}
PRESETS: dict[str, Preset] = {
    # R1 is lazy, unlike in the paper, which saves half of the time.
    "tiny-cpu": {**TINY_GROWING, "lazy_r1": True, "learning_rate": 0.002, "learning_rates": {}, "ema_rampup": 0.05},
    # StyleGAN2's table 1: StyleGAN, weight demodulation, lazy regularization, path length.
    "config-a": {},
    "config-b": {"normalization": "demodulation"},
    "config-c": {"normalization": "demodulation", "lazy_r1": True},
    "config-d": {"normalization": "demodulation", "lazy_r1": True, "path_length_interval": 4},
}


@GENERATORS.register("stylegan")
class Generator(TwoPartGenerator[Mapping, Synthesis]):
    """StyleGAN generator.

    Args:
        img_resolution: Pixels of a side, a power of two from 8 to 4096.
        img_channels: 1 gray, 3 RGB, 4 RGBA.
        z_dim: Size of the input latent z.
        w_dim: Size of the intermediate latent w.
        channel_base: Channels are min(channel_base / resolution, channel_max); 32768 is configuration F, 16384 E.
        channel_max: Most channels of a layer.
        mapping_layers: Depth of the mapping network.
        mapping_lr_multiplier: Learning rate of the mapping network, relative to that of the other layers.
        normalization: "adain" as in StyleGAN, or "demodulation" as in StyleGAN2's configurations B to D.
        num_classes: Classes that it is conditioned on; 0 for none.
    """

    grows = True
    has_styles = True
    published, presets = PUBLISHED, PRESETS

    def __init__(
        self,
        img_resolution: int,
        img_channels: int = 3,
        z_dim: Size = 512,
        w_dim: Size = 512,
        channel_base: Size = 16384,
        channel_max: Size = 512,
        mapping_layers: Layers = 8,
        mapping_lr_multiplier: Positive = 0.01,
        normalization: Normalization = "adain",
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(img_resolution, img_channels, "plain")
        check_normalization(normalization)
        self.z_dim, self.w_dim, self.num_classes = z_dim, w_dim, num_classes
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.synthesis = Synthesis(w_dim, img_resolution, img_channels, channel_base, channel_max, normalization)
        self.num_ws = num_ws_at(img_resolution)
        sizes = (z_dim, w_dim, self.num_ws, mapping_layers, mapping_lr_multiplier, num_classes)
        self.mapping = Mapping(*sizes, scale_bias=self.synthesis.demodulates)


@DISCRIMINATORS.register("stylegan")
def build_discriminator(
    img_resolution: int,
    img_channels: int = 3,
    channel_base: Size = 16384,
    channel_max: Size = 512,
    normalization: Normalization = "adain",
    mbstd_group: Size = 4,
    num_classes: int = 0,
) -> growing.Discriminator:
    """Build StyleGAN's discriminator; see `growing.Discriminator`.

    It filters with [1, 2, 1]; configurations B to D of StyleGAN2 filter with [1, 3, 3, 1].
    """
    low_pass = "fir" if normalization == "demodulation" else "binomial"
    sizes = (img_resolution, img_channels, channel_base, channel_max)
    return growing.Discriminator(*sizes, low_pass, mbstd_group, num_classes=num_classes)
