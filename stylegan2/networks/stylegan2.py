"""StyleGAN2 (Karras et al. 2019, arXiv 1912.04958): mapping network, modulated synthesis, residual discriminator.

The three architectures of the paper's figure 7 are available to both networks: skip, residual and plain.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from stylegan2 import ops
from stylegan2.networks.conditioning import Projection, check_labels
from stylegan2.networks.layers import (
    DiscriminatorBlock,
    EqualConv2d,
    EqualLinear,
    SynthesisLayer,
    ToRGB,
    add_correction,
    minibatch_stddev,
)
from stylegan2.networks.mapping import Mapping
from stylegan2.networks.precision import Precision
from stylegan2.networks.protocols import TwoPartGenerator
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS, TINY_CPU, Preset, Settings
from stylegan2.networks.sizes import check_sizes, feature_maps, num_ws_at, resolutions
from stylegan2.runtime.ranges import Layers, Positive, Size

SINGLE_FROM = 512  # px: from here on a CPU renders one image after the other (see `ops.single_samples_pay`)


class Synthesis(nn.Module):
    """The synthesis network g: layer k reads ws[:, k]; the ToRGB of block j and the block after it read ws[:, 2j + 1].

    Args:
        w_dim: Size of the latent w.
        img_resolution: Pixels of a side of the images.
        img_channels: Channels of the images.
        channel_base: Channels are min(channel_base / resolution, channel_max).
        channel_max: Most channels of a layer.
        architecture: "skip", "residual" or "plain" (figure 7).
        conv_clamp: Largest absolute value of the activations; None limits only those in 16-bit numbers.
    """

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
        self.img_resolution = img_resolution
        self.conv_clamp = conv_clamp
        self.precision = Precision(img_resolution)
        sizes = resolutions(img_resolution)
        widths = [feature_maps(r, channel_base, channel_max) for r in sizes]
        self.feature_channels = dict(zip(sizes, widths, strict=True))
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

    def forward(self, ws: Tensor, noise_mode: str = "const", features: Tensor | None = None) -> Tensor:
        """Turn latents into images.

        Args:
            ws: [N, num_ws, w_dim].
            noise_mode: "const" (the stored maps), "random" (fresh, from the global generator) or "none".
            features: [N, feature_channels[r], r, r], added to the output of the block whose resolution is r.

        Returns:
            [N, img_channels, R, R], about in [-1, 1] but not clamped.
        """
        if self.img_resolution >= SINGLE_FROM and noise_mode != "random" and ops.single_samples_pay(ws):
            parts = [features[k : k + 1] if features is not None else None for k in range(len(ws))]
            images = [self(w[None], noise_mode, part) for w, part in zip(ws, parts, strict=True)]
            return torch.cat(images)  # [N, img_channels, R, R]
        x = self.first_maps(ws, noise_mode)  # [N, C, 4, 4]
        x = add_correction(x, features)
        image = self.to_rgbs[0](x, ws[:, 1], self.conv_clamp) if self.architecture == "skip" else None
        for block in range(1, len(self.layers) // 2 + 1):
            x = add_correction(self.next_maps(x, ws, block, noise_mode), features)  # [N, C, 2H, 2W]
            if image is not None:
                clamp = self.precision.clamp(self.conv_clamp, x.shape[2])
                image = ops.upsample2x(image) + self.to_rgbs[block](x, ws[:, 2 * block + 1], clamp)
        clamp = self.precision.clamp(self.conv_clamp, self.img_resolution)
        return self.to_rgbs[-1](x, ws[:, -1], clamp) if image is None else image

    def features_at(self, ws: Tensor, side: int, noise_mode: str = "const") -> Tensor:
        """Compute the feature maps of one resolution, to which `forward` adds `features`.

        Args:
            ws: [N, num_ws, w_dim].
            side: The resolution in pixels, a key of `feature_channels`.
            noise_mode: As in `forward`.

        Returns:
            [N, feature_channels[side], side, side], without a correction.
        """
        x = self.first_maps(ws, noise_mode)  # [N, C, 4, 4]
        for block in range(1, resolutions(side).index(side) + 1):
            x = self.next_maps(x, ws, block, noise_mode)  # [N, C, 2H, 2W]
        return x

    def first_maps(self, ws: Tensor, noise_mode: str) -> Tensor:
        """Compute the feature maps of the first block, [N, C, 4, 4]."""
        x = self.const.expand(ws.shape[0], -1, -1, -1)  # [N, C, 4, 4]
        x = x.contiguous(memory_format=torch.channels_last)
        return self.layers[0](x, ws[:, 0], noise_mode, self.conv_clamp)

    def next_maps(self, x: Tensor, ws: Tensor, block: int, noise_mode: str) -> Tensor:
        """Compute a block's feature maps [N, C, 2H, 2W] from those of the block before it, [N, C', H, W]."""
        first, size = 2 * block - 1, 2 * x.shape[2]
        x, clamp = self.precision.cast(x, size), self.precision.clamp(self.conv_clamp, size)
        y = self.layers[first](x, ws[:, first], noise_mode, clamp)  # [N, C, 2H, 2W]
        y = self.layers[first + 1](y, ws[:, first + 1], noise_mode, clamp)
        # The 1x1 skip convolution commutes with the resampling and is cheaper before it.
        return y + ops.upsample2x(self.skips[block - 1](x)) if self.architecture == "residual" else y


def auto(resolution: int, batch_size: int | None) -> Settings:
    """Return StyleGAN2-ADA's configuration `auto` for one GPU: sizes and R1 weight from resolution and batch size."""
    batch_size = batch_size or max(1, min(4096 // resolution, 32))
    return {
        "batch_size": batch_size,
        "mbstd_group": min(batch_size, 4),
        "channel_base": 32768 if resolution >= 512 else 16384,
        "mapping_layers": 2,
        "learning_rate": 0.002 if resolution >= 1024 else 0.0025,
        "r1_gamma": 0.0002 * resolution**2 / batch_size,
        "ema_nimg": batch_size * 10_000 / 32,
    }


PRESETS: dict[str, Preset] = {
    "tiny-cpu": TINY_CPU,
    "auto": auto,
    # Table 1: configuration E has half the feature maps of F from 64 px upwards.
    "config-e": {"channel_base": 16384, "batch_size": 32, "r1_gamma": 100.0, "ema_rampup": None},
    "config-f": {"channel_base": 32768, "batch_size": 32, "r1_gamma": 10.0, "ema_rampup": None},
    # StyleGAN2-ADA's configuration for 256 px.
    "paper256": {
        "resolution": 256,
        "channel_base": 16384,
        "batch_size": 64,
        "learning_rate": 0.0025,
        "r1_gamma": 1.0,
        "ema_nimg": 20_000,
        "ema_rampup": None,
        "mbstd_group": 8,
    },
}


@GENERATORS.register("stylegan2")
class Generator(TwoPartGenerator[Mapping, Synthesis]):
    """StyleGAN2 generator.

    Args:
        img_resolution: Pixels of a side, a power of two from 8 to 4096.
        img_channels: 1 gray, 3 RGB, 4 RGBA.
        z_dim: Size of the input latent z.
        w_dim: Size of the intermediate latent w.
        channel_base: Channels are min(channel_base / resolution, channel_max); 32768 is configuration F, 16384 E.
        channel_max: Most channels of a layer.
        mapping_layers: Depth of the mapping network.
        mapping_lr_multiplier: Learning rate of the mapping network, relative to that of the other layers.
        architecture: skip, residual or plain (figure 7).
        conv_clamp: Largest absolute value of the activations; by default only those in 16-bit numbers are limited.
        num_classes: Classes that it is conditioned on; 0 for none.
    """

    grows = False
    has_styles = True
    presets = PRESETS

    def __init__(
        self,
        img_resolution: int,
        img_channels: int = 3,
        z_dim: Size = 512,
        w_dim: Size = 512,
        channel_base: Size = 32768,
        channel_max: Size = 512,
        mapping_layers: Layers = 8,
        mapping_lr_multiplier: Positive = 0.01,
        architecture: str = "skip",
        conv_clamp: Positive | None = None,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(img_resolution, img_channels, architecture)
        self.z_dim, self.w_dim, self.num_classes = z_dim, w_dim, num_classes
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.synthesis = Synthesis(
            w_dim, img_resolution, img_channels, channel_base, channel_max, architecture, conv_clamp
        )
        self.num_ws = num_ws_at(img_resolution)  # one for each layer, and one for the last ToRGB
        self.mapping = Mapping(z_dim, w_dim, self.num_ws, mapping_layers, mapping_lr_multiplier, num_classes)


@DISCRIMINATORS.register("stylegan2")
class Discriminator(nn.Module):
    """StyleGAN2 discriminator: images [N, C, R, R] in [-1, 1] -> logits [N, 1].

    Args:
        img_resolution: Pixels of a side, a power of two from 8 to 4096.
        img_channels: 1 gray, 3 RGB, 4 RGBA.
        channel_base: Channels are min(channel_base / resolution, channel_max); 32768 is configuration F, 16384 E.
        channel_max: Most channels of a layer.
        architecture: skip, residual or plain (figure 7).
        mbstd_group: Group size of the minibatch standard deviation.
        mbstd_channels: Number of statistics that it appends.
        num_classes: Classes that it is conditioned on by projection; 0 for none.
    """

    def __init__(
        self,
        img_resolution: int,
        img_channels: int = 3,
        channel_base: Size = 32768,
        channel_max: Size = 512,
        architecture: str = "residual",
        mbstd_group: Size = 4,
        mbstd_channels: Size = 1,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(img_resolution, img_channels, architecture)
        self.architecture, self.num_classes = architecture, num_classes
        self.mbstd_group, self.mbstd_channels = mbstd_group, mbstd_channels
        self.precision = Precision(img_resolution)
        sizes = resolutions(img_resolution)[::-1]
        widths = [feature_maps(r, channel_base, channel_max) for r in sizes]
        inputs = widths if architecture == "skip" else widths[:1]
        self.from_rgbs = nn.ModuleList(EqualConv2d(img_channels, width, 1) for width in inputs)
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(a, b, residual=architecture == "residual") for a, b in pairwise(widths)
        )
        last = widths[-1]
        self.conv = EqualConv2d(last + mbstd_channels, last, 3)
        self.fc = EqualLinear(last * 4 * 4, last, activate=True)
        self.out = EqualLinear(last, last if num_classes else 1)
        self.projection = Projection(num_classes, last) if num_classes else None

    def forward(self, images: Tensor, parts: int = 1, labels: Tensor | None = None) -> Tensor:
        """Compute the logits of images.

        Args:
            images: [N, C, R, R] in [-1, 1].
            parts: Number of independent batches that are stacked in `images`; their minibatch statistics stay apart.
            labels: int64 [N], where the network is conditioned on classes.

        Returns:
            Logits [N, 1].

        Raises:
            UserError: Labels are missing, or the network takes none.
        """
        check_labels(labels, self.num_classes)
        images = images.contiguous(memory_format=torch.channels_last)
        x = self.from_rgb(0, images)  # [N, C, R, R]
        for i, block in enumerate(self.blocks, start=1):
            size = x.shape[2]
            x = block(x, self.precision.clamp(None, size))  # [N, C', H/2, W/2]
            x = self.precision.cast(x, size // 2, self.out.weight.dtype)
            if self.architecture == "skip":
                images = ops.downsample2x(images)  # [N, img_channels, H/2, W/2]
                x = x + self.from_rgb(i, images)
        x = minibatch_stddev(x, self.mbstd_group, self.mbstd_channels, parts)  # [N, C + F, 4, 4]
        x = self.conv(x)
        x = self.out(self.fc(x.flatten(1)))  # [N, 1], or the features [N, C] to project
        return x if self.projection is None else self.projection(x, labels)

    def from_rgb(self, k: int, images: Tensor) -> Tensor:
        """Turn images [N, img_channels, r, r] into feature maps [N, C, r, r] in the type of that resolution."""
        size = images.shape[2]
        return self.from_rgbs[k](self.precision.cast(images, size), self.precision.clamp(None, size))
