"""PGGAN (Karras et al. 2017, arXiv 1710.10196): a generator without styles that grows from 4x4 pixels."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan2.networks import growing
from stylegan2.networks.conditioning import LabelEmbedding, check_labels
from stylegan2.networks.growing import GrowthState, enlarge_or_average, fade
from stylegan2.networks.layers import HeConv2d, normalize_2nd_moment
from stylegan2.networks.precision import Precision
from stylegan2.networks.protocols import TwoPartGenerator
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS, TINY_GROWING, Preset, Settings
from stylegan2.networks.sizes import check_sizes, feature_maps, resolutions
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Size


class Normalization(nn.Module):
    """Normalise z in place of a mapping network: w is z on the hypersphere, followed by the embedding of its label.

    Args:
        z_dim: Size of z.
        num_classes: Classes that the generator is conditioned on; 0 for none.
    """

    w_avg: Tensor  # [w_dim], 0: the mean of a normalised Gaussian

    def __init__(self, z_dim: int, num_classes: int) -> None:
        super().__init__()
        self.num_ws, self.num_classes = 1, num_classes
        self.embedding = LabelEmbedding(num_classes, z_dim) if num_classes else None
        self.register_buffer("w_avg", torch.zeros(2 * z_dim if num_classes else z_dim))

    def forward(
        self, z: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Normalise z [N, z_dim] to ws [N, 1, w_dim]; labels are int64 [N].

        Raises:
            UserError: Truncation was requested, which needs a space W; or labels are missing or not expected.
        """
        check_labels(labels, self.num_classes)
        if truncation_psi != 1.0:
            raise UserError("a PGGAN generator has no intermediate latent space W to truncate in: use psi 1")
        w = normalize_2nd_moment(z)  # [N, z_dim]
        if self.embedding is not None and labels is not None:
            w = torch.cat([w, self.embedding(labels)], dim=1)  # [N, 2 z_dim]
        return w[:, None]  # [N, 1, w_dim]

    def track_average(self, w: Tensor) -> None:
        """Do nothing, as the mean of W is known."""


class GeneratorBlock(nn.Module):
    """Two convolutions, each with a leaky ReLU and pixel norm (section 4.2); the first doubles the resolution.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        first: Turn a single pixel into 4x4 pixels instead (table 2).
    """

    def __init__(self, in_channels: int, out_channels: int, first: bool) -> None:
        super().__init__()
        self.first = first
        if first:
            self.conv0 = HeConv2d(in_channels, out_channels, 4)
        else:
            self.conv0 = HeConv2d(in_channels, out_channels, 3, resample="up")
        self.conv1 = HeConv2d(out_channels, out_channels, 3)

    def forward(self, x: Tensor, clamp: float | None = None) -> Tensor:
        """Map x [N, in_channels, H, W] to [N, out_channels, 2H, 2W]; `clamp` limits both convolutions."""
        if self.first:
            x = F.pad(x, (3, 3, 3, 3))  # [N, w_dim, 7, 7]
        x = normalize_2nd_moment(self.conv0(x, clamp))  # [N, out_channels, 2H, 2W]
        return normalize_2nd_moment(self.conv1(x, clamp))


class Synthesis(nn.Module):
    """The synthesis network: blocks that double the resolution, and a 1x1 convolution to RGB at each resolution.

    Args:
        w_dim: Size of the latent w.
        img_resolution: Pixels of a side of the images.
        img_channels: Channels of the images.
        channel_base: Channels are min(channel_base / resolution, channel_max).
        channel_max: Most channels of a layer.
    """

    def __init__(self, w_dim: int, img_resolution: int, img_channels: int, channel_base: int, channel_max: int) -> None:
        super().__init__()
        self.img_resolution = img_resolution
        widths = [feature_maps(r, channel_base, channel_max) for r in resolutions(img_resolution)]
        sizes = list(pairwise([w_dim, *widths]))
        self.blocks = nn.ModuleList(GeneratorBlock(a, b, first=k == 0) for k, (a, b) in enumerate(sizes))
        self.to_rgbs = nn.ModuleList(HeConv2d(width, img_channels, 1, activate=False) for width in widths)
        self.growth = GrowthState(img_resolution)
        self.precision = Precision(img_resolution)

    def forward(
        self, ws: Tensor, noise_mode: str = "const", resolution: int | None = None, alpha: float = 1.0
    ) -> Tensor:
        """Turn latents into images.

        Args:
            ws: [N, 1, w_dim].
            noise_mode: Ignored, as this generator has no noise; it is part of the common interface.
            resolution: The resolution that growing has reached; by default the one that the generator remembers, whose
                images are enlarged to R.
            alpha: How far that resolution has faded in, from 0 to 1.

        Returns:
            [N, img_channels, resolution, resolution], or R by R by default, about in [-1, 1] but not clamped.
        """
        size, alpha = self.growth.reached if resolution is None else (resolution, alpha)
        x = previous = ws[:, 0, :, None, None]  # [N, w_dim, 1, 1]
        reached = resolutions(size)
        last = len(reached) - 1
        for block, r in zip(self.blocks, reached, strict=False):
            previous, x = x, block(self.precision.cast(x, r), self.precision.clamp(None, r))  # [N, C, r, r]
        images = self.to_rgb(last, x)  # [N, img_channels, size, size]
        if alpha < 1:
            images = fade(self.to_rgb(last - 1, previous), images, alpha)
        return enlarge_or_average(images, self.img_resolution) if resolution is None else images

    def to_rgb(self, block: int, x: Tensor) -> Tensor:
        """Turn feature maps [N, C, r, r] into images [N, img_channels, r, r] in full precision."""
        layer = self.to_rgbs[block]
        return layer(x).to(layer.weight.dtype)


# Appendix A.
PUBLISHED: Settings = {
    "grow_from": 4,
    "fade_nimg": 800_000,
    "stable_nimg": 800_000,
    "batch_size": 16,
    "batch_sizes": {256: 14, 512: 6, 1024: 3},
    "learning_rate": 0.001,
    "loss": "wgan",
    "r1_gamma": 10.0,
    "lazy_r1": False,
    "path_length_interval": 0,
    "style_mixing": 0.0,
    "ema_nimg": 11_000,
    "ema_rampup": None,
    "total_nimg": 19_000_000,
}
PRESETS: dict[str, Preset] = {"tiny-cpu": {**TINY_GROWING, "ema_rampup": 0.05}}


@GENERATORS.register("pggan")
class Generator(TwoPartGenerator[Normalization, Synthesis]):
    """PGGAN generator. One latent serves the whole image (num_ws is 1), so there is nothing to mix or to truncate.

    Args:
        img_resolution: Pixels of a side, a power of two from 8 to 4096.
        img_channels: 1 gray, 3 RGB, 4 RGBA.
        z_dim: Size of the input latent z.
        channel_base: Channels are min(channel_base / resolution, channel_max); 32768 is configuration F, 16384 E.
        channel_max: Most channels of a layer.
        num_classes: Classes that it is conditioned on; 0 for none.
    """

    grows = True
    has_styles = False
    published, presets = PUBLISHED, PRESETS

    def __init__(
        self,
        img_resolution: int,
        img_channels: int = 3,
        z_dim: Size = 512,
        channel_base: Size = 16384,
        channel_max: Size = 512,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(img_resolution, img_channels, "plain")
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.mapping = Normalization(z_dim, num_classes)
        self.z_dim, self.w_dim = z_dim, len(self.mapping.w_avg)
        self.num_ws, self.num_classes = self.mapping.num_ws, num_classes
        self.synthesis = Synthesis(self.w_dim, img_resolution, img_channels, channel_base, channel_max)


@DISCRIMINATORS.register("pggan")
def build_discriminator(
    img_resolution: int,
    img_channels: int = 3,
    channel_base: Size = 16384,
    channel_max: Size = 512,
    mbstd_group: Size = 4,
    num_classes: int = 0,
) -> growing.Discriminator:
    """Build PGGAN's discriminator, which has no filter before downsampling; see `growing.Discriminator`."""
    return growing.Discriminator(
        img_resolution, img_channels, channel_base, channel_max, "none", mbstd_group, num_classes=num_classes
    )
