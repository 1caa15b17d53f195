"""StyleGAN2 (Karras et al. 2019, arXiv 1912.04958): mapping network, modulated synthesis, residual discriminator.

The three architectures of the paper's figure 7 are available to both networks: skip, residual and plain.
"""

import itertools
import math

import torch
from torch import Tensor, nn

from stylegan2 import ops
from stylegan2.networks.conditioning import LabelEmbedding, Projection, check_labels
from stylegan2.networks.layers import EqualConv2d, EqualLinear, minibatch_stddev, normalize_2nd_moment
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.randomness import own_rows

ARCHITECTURES = ("skip", "residual", "plain")
RESOLUTIONS = tuple(2**k for k in range(4, 11))


def check_sizes(img_resolution: int, img_channels: int, architecture: str) -> None:
    if img_resolution not in RESOLUTIONS:
        raise UserError(
            f"the resolution must be a power of two from {RESOLUTIONS[0]} to {RESOLUTIONS[-1]}, not {img_resolution}"
        )
    if not 1 <= img_channels <= 4:
        raise UserError(f"images have 1 to 4 channels, not {img_channels}")
    if architecture not in ARCHITECTURES:
        raise UserError(f"unknown architecture {architecture!r}: choose one of {', '.join(ARCHITECTURES)}")


def resolutions(img_resolution: int) -> list[int]:
    """4, 8, ... up to the image's."""
    return [2**k for k in range(2, int(math.log2(img_resolution)) + 1)]


def feature_maps(resolution: int, channel_base: int, channel_max: int) -> int:
    """Channels at a resolution; a base of 32768 is the paper's configuration F, 16384 its E."""
    return min(channel_base // resolution, channel_max)


class Mapping(nn.Module):
    """f: Z -> W, fully connected layers with learning-rate multiplier 0.01 (StyleGAN, section 2).

    Where it is conditioned on classes, the label's embedding stands beside the normalised z (StyleGAN2-ADA).
    """

    w_avg: Tensor  # [w_dim], moving average of w, the centre of truncation

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        num_ws: int,
        layers: int,
        lr_multiplier: float = 0.01,
        num_classes: int = 0,
        scale_bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_ws, self.num_classes = num_ws, num_classes
        sizes = [z_dim + (w_dim if num_classes else 0)] + [w_dim] * layers
        self.layers = nn.ModuleList(
            EqualLinear(a, b, lr_multiplier=lr_multiplier, activate=True, scale_bias=scale_bias)
            for a, b in itertools.pairwise(sizes)
        )
        self.embedding = LabelEmbedding(num_classes, w_dim) if num_classes else None
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """z [N, z_dim], labels int64 [N] where it is conditioned on classes -> ws [N, num_ws, w_dim].

        Truncation moves w towards w_avg: w' = w_avg + psi (w - w_avg), a smaller psi truncates more
        (StyleGAN, appendix B); `truncation_cutoff` limits it to the first layers.
        """
        check_labels(labels, self.num_classes)
        w = normalize_2nd_moment(z)
        if self.embedding is not None and labels is not None:
            w = torch.cat([w, self.embedding(labels)], dim=1)  # [N, z_dim + w_dim]
        for layer in self.layers:
            w = layer(w)  # [N, w_dim]
        ws = w[:, None].repeat(1, self.num_ws, 1)  # [N, num_ws, w_dim]
        if truncation_psi != 1.0:
            truncated = self.w_avg.lerp(ws[:, :truncation_cutoff], truncation_psi)
            ws = truncated if truncation_cutoff is None else torch.cat([truncated, ws[:, truncation_cutoff:]], dim=1)
        return ws

    @torch.no_grad()
    def track_average(self, w: Tensor, decay: float = 0.995) -> None:
        """Move w_avg towards the mean of w [N, w_dim]."""
        self.w_avg.copy_(w.mean(0).lerp(self.w_avg, decay))


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, demodulation, noise, bias, leaky ReLU (StyleGAN2, figure 2c)."""

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
        gain = self.gain * ops.LRELU_GAIN
        styles = self.affine(w) / math.sqrt(self.weight[0].numel())  # [N, I]; He's constant, here on the smaller factor
        scale = ops.demodulation(self.weight, styles) * gain  # [N, O]
        x = ops.modulated_conv2d(x, self.weight, styles, scale, self.bias * gain, self.upsample)  # [N, O, H, W]
        if noise_mode != "none":
            x = ops.add_noise(x, self.noise(x, noise_mode) * (self.noise_strength * gain))
        x = ops.leaky_relu(x)
        return x if clamp is None else x.clamp(-clamp * self.gain, clamp * self.gain)

    def noise(self, x: Tensor, mode: str) -> Tensor:
        if mode == "const":
            return self.noise_const
        like_x = {"dtype": x.dtype, "device": x.device}
        return own_rows(lambda count: torch.randn(count, 1, *x.shape[2:], **like_x), len(x))  # [N, 1, H, W]


class ToRGB(nn.Module):
    """Modulated 1x1 convolution without demodulation."""

    def __init__(self, in_channels: int, img_channels: int, w_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)

    def forward(self, x: Tensor, w: Tensor, clamp: float | None) -> Tensor:
        styles = self.affine(w) / math.sqrt(self.weight.shape[1])  # [N, I]
        scale = styles.new_ones(1, len(self.bias))  # [1, img_channels]
        x = ops.modulated_conv2d(x, self.weight, styles, scale, self.bias)  # [N, img_channels, H, W]
        return x if clamp is None else x.clamp(-clamp, clamp)


class Synthesis(nn.Module):
    """g: ws -> image. Layer k reads ws[:, k]; the ToRGB of block j reads ws[:, 2j + 1], as the block after it does."""

    def __init__(
        self,
        w_dim: int,
        img_resolution: int,
        img_channels: int,
        channel_base: int,
        channel_max: int,
        architecture: str,
        conv_clamp: float | None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.conv_clamp = conv_clamp
        sizes = resolutions(img_resolution)
        widths = [feature_maps(r, channel_base, channel_max) for r in sizes]
        branch_gain = math.sqrt(0.5) if architecture == "residual" else 1.0
        self.const = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.layers = nn.ModuleList([SynthesisLayer(widths[0], widths[0], w_dim, 4, upsample=False)])
        self.to_rgbs = nn.ModuleList()
        self.skips = nn.ModuleList()
        for previous, width, size in zip(widths[:-1], widths[1:], sizes[1:], strict=True):
            self.layers.append(SynthesisLayer(previous, width, w_dim, size, upsample=True))
            self.layers.append(SynthesisLayer(width, width, w_dim, size, upsample=False, gain=branch_gain))
            if architecture == "residual":
                conv = EqualConv2d(previous, width, 1, bias=False, activate=False, gain=branch_gain)
                self.skips.append(conv)
        outputs = widths if architecture == "skip" else widths[-1:]
        self.to_rgbs.extend(ToRGB(width, img_channels, w_dim) for width in outputs)

    @property
    def num_ws(self) -> int:
        return len(self.layers) + 1  # one a layer, and the last ToRGB's

    def forward(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        """ws [N, num_ws, w_dim] -> images [N, img_channels, R, R], about [-1, 1] (not clamped).

        noise_mode: "const" (the stored maps), "random" (fresh, from the global generator) or "none".
        """
        clamp = self.conv_clamp
        x = self.const.expand(ws.shape[0], -1, -1, -1)  # [N, C, 4, 4]
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.layers[0](x, ws[:, 0], noise_mode, clamp)
        image = self.to_rgbs[0](x, ws[:, 1], clamp) if self.architecture == "skip" else None
        for block in range(1, len(self.layers) // 2 + 1):
            first = 2 * block - 1
            y = self.layers[first](x, ws[:, first], noise_mode, clamp)  # [N, C, 2H, 2W]
            y = self.layers[first + 1](y, ws[:, first + 1], noise_mode, clamp)
            # The 1x1 skip convolution commutes with the resampling and is cheaper before it.
            x = y + ops.upsample2x(self.skips[block - 1](x)) if self.architecture == "residual" else y
            if image is not None:
                image = ops.upsample2x(image) + self.to_rgbs[block](x, ws[:, first + 2], clamp)
        return self.to_rgbs[-1](x, ws[:, -1], clamp) if image is None else image


@GENERATORS.register("stylegan2")
class Generator(nn.Module):
    """StyleGAN2 generator.

    Attributes:
        z_dim, w_dim, num_ws, num_classes, img_resolution, img_channels: sizes; num_ws = 2 log2(resolution) - 2.
        w_avg: [w_dim] buffer, the mean of W.
        grows, has_styles: whether it can be trained from low resolutions up; whether each layer has its own code.
    """

    grows = False
    has_styles = True

    def __init__(
        self,
        img_resolution: int,
        img_channels: int = 3,
        z_dim: int = 512,
        w_dim: int = 512,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 8,
        mapping_lr_multiplier: float = 0.01,
        architecture: str = "skip",
        conv_clamp: float | None = None,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(img_resolution, img_channels, architecture)
        self.z_dim, self.w_dim, self.num_classes = z_dim, w_dim, num_classes
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.synthesis = Synthesis(
            w_dim, img_resolution, img_channels, channel_base, channel_max, architecture, conv_clamp
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = Mapping(z_dim, w_dim, self.num_ws, mapping_layers, mapping_lr_multiplier, num_classes)

    @property
    def w_avg(self) -> Tensor:
        return self.mapping.w_avg

    def forward(
        self, z: Tensor, truncation_psi: float = 1.0, noise_mode: str = "const", labels: Tensor | None = None
    ) -> Tensor:
        """z [N, z_dim], labels int64 [N] where it is conditioned on classes -> images [N, img_channels, R, R]."""
        return self.synthesis(self.mapping(z, truncation_psi, labels=labels), noise_mode)


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second halves the resolution; with a residual 1x1 path beside them in "residual"."""

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

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.conv0(x))  # [N, out_channels, H/2, W/2]
        return y if self.skip is None else y + self.skip(x)


@DISCRIMINATORS.register("stylegan2")
class Discriminator(nn.Module):
    """StyleGAN2 discriminator: images [N, C, R, R] in [-1, 1] -> logits [N, 1].

    With `num_classes`, it is conditioned on labels by projection.
    """

    def __init__(
        self,
        img_resolution: int,
        img_channels: int = 3,
        channel_base: int = 32768,
        channel_max: int = 512,
        architecture: str = "residual",
        mbstd_group: int = 4,
        mbstd_channels: int = 1,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(img_resolution, img_channels, architecture)
        self.architecture, self.num_classes = architecture, num_classes
        self.mbstd_group, self.mbstd_channels = mbstd_group, mbstd_channels
        sizes = resolutions(img_resolution)[::-1]
        widths = [feature_maps(r, channel_base, channel_max) for r in sizes]
        inputs = widths if architecture == "skip" else widths[:1]
        self.from_rgbs = nn.ModuleList(EqualConv2d(img_channels, width, 1) for width in inputs)
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(a, b, residual=architecture == "residual") for a, b in itertools.pairwise(widths)
        )
        last = widths[-1]
        self.conv = EqualConv2d(last + mbstd_channels, last, 3)
        self.fc = EqualLinear(last * 4 * 4, last, activate=True)
        self.out = EqualLinear(last, last if num_classes else 1)
        self.projection = Projection(num_classes, last) if num_classes else None

    def forward(self, images: Tensor, parts: int = 1, labels: Tensor | None = None) -> Tensor:
        """Logits of images [N, C, R, R].

        Args:
            parts: independent batches stacked in `images` (their minibatch statistics stay apart).
            labels: int64 [N], where it is conditioned on classes.
        """
        check_labels(labels, self.num_classes)
        images = images.contiguous(memory_format=torch.channels_last)
        x = self.from_rgbs[0](images)  # [N, C, R, R]
        for i, block in enumerate(self.blocks, start=1):
            x = block(x)  # [N, C', H/2, W/2]
            if self.architecture == "skip":
                images = ops.downsample2x(images)  # [N, img_channels, H/2, W/2]
                x = x + self.from_rgbs[i](images)
        x = minibatch_stddev(x, self.mbstd_group, self.mbstd_channels, parts)  # [N, C + F, 4, 4]
        x = self.conv(x)
        x = self.out(self.fc(x.flatten(1)))  # [N, 1], or the features [N, C] to project
        return x if self.projection is None else self.projection(x, labels)
