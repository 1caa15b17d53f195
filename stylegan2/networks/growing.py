"""Progressive growing: the parts that growing generators share, and their discriminator.

A new resolution fades in with alpha from 0 to 1, in the generator, in the discriminator and in the real images (PGGAN,
arXiv 1710.10196, section 2 and figure 2).
"""

import math
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan2 import ops
from stylegan2.networks.conditioning import Projection, check_labels
from stylegan2.networks.layers import DiscriminatorBlock, EqualLinear, HeConv2d, minibatch_stddev
from stylegan2.networks.precision import Precision
from stylegan2.networks.protocols import Generator
from stylegan2.networks.sizes import check_sizes, feature_maps, resolutions
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Size

Growth = tuple[int, float]  # (resolution reached, how far it has faded in: 0 to 1)
LOW_PASSES = ("none", "binomial", "fir")


# --- fading ---


def fade(old: Tensor, new: Tensor, alpha: float) -> Tensor:
    """Blend alpha * new + (1 - alpha) * upsampled old: [N, C, H, W] and [N, C, 2H, 2W] -> [N, C, 2H, 2W]."""
    return new if alpha == 1 else ops.nearest_upsample2x(old).lerp(new, alpha)


def fade_real(images: Tensor, resolution: int, alpha: float) -> Tensor:
    """Resize and fade real images in the way in which a growing generator fades its own.

    Args:
        images: [N, C, R, R].
        resolution: The resolution that growing has reached.
        alpha: How far that resolution has faded in, from 0 to 1.

    Returns:
        [N, C, resolution, resolution].
    """
    images = enlarge_or_average(images, resolution)  # [N, C, resolution, resolution]
    return images if alpha == 1 else fade(ops.average_downsample2x(images), images, alpha)


def enlarge_or_average(images: Tensor, resolution: int) -> Tensor:
    """Resize images [N, C, R, R] to a power of two: by nearest neighbours up, by the mean of each block down."""
    if images.shape[2] > resolution:
        return F.avg_pool2d(images, images.shape[2] // resolution)
    if images.shape[2] < resolution:
        return F.interpolate(images, scale_factor=resolution // images.shape[2], mode="nearest")
    return images


class GrowthState(nn.Module):
    """How far a generator has grown, stored in its checkpoints; a new generator has its full resolution."""

    def __init__(self, img_resolution: int) -> None:
        super().__init__()
        self.reached: Growth = (img_resolution, 1.0)

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.reached, dtype=torch.float64)  # [2]

    def set_extra_state(self, state: Tensor) -> None:
        resolution, alpha = state.tolist()
        self.reached = (int(resolution), alpha)


def growth_of(generator: Generator) -> GrowthState | None:
    """Return how far a generator has grown; None for a generator that does not grow."""
    return getattr(generator.synthesis, "growth", None)


# --- discriminator ---


class HeDiscriminatorBlock(nn.Module):
    """Two 3x3 convolutions; the second halves the resolution (PGGAN, table 2).

    The second averages before bias and activation, as the authors' code does, so that one 4x4 convolution does both.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        low_pass: Filter with [1, 2, 1] before the second convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, low_pass: bool) -> None:
        super().__init__()
        self.conv0 = HeConv2d(in_channels, in_channels, 3)
        self.conv1 = HeConv2d(in_channels, out_channels, 3, resample="down", low_pass=low_pass)
        self.skip = None

    def forward(self, x: Tensor, clamp: float | None = None) -> Tensor:
        """Map x [N, in_channels, H, W] to [N, out_channels, H/2, W/2]; `clamp` limits both convolutions."""
        return self.conv1(self.conv0(x, clamp), clamp)  # [N, out_channels, H/2, W/2]


class Discriminator(nn.Module):
    """Growing discriminator: images [N, C, r, r] in [-1, 1], of any resolution r from 4 to R -> logits [N, 1].

    Args:
        img_resolution: R, pixels of a side, a power of two from 8 to 4096.
        img_channels: 1 gray, 3 RGB, 4 RGBA.
        channel_base: Channels are min(channel_base / resolution, channel_max).
        channel_max: Most channels of a layer.
        low_pass: What precedes downsampling: "none" (PGGAN), "binomial" (StyleGAN, [1, 2, 1]) or "fir" (StyleGAN2's
            configurations B to D, [1, 3, 3, 1]).
        mbstd_group: Group size of the minibatch standard deviation.
        mbstd_channels: Number of statistics that it appends.
        num_classes: Classes that it is conditioned on by projection; 0 for none.
    """

    architecture = "plain"

    def __init__(
        self,
        img_resolution: int,
        img_channels: int = 3,
        channel_base: Size = 16384,
        channel_max: Size = 512,
        low_pass: str = "none",
        mbstd_group: Size = 4,
        mbstd_channels: Size = 1,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(img_resolution, img_channels, self.architecture)
        if low_pass not in LOW_PASSES:
            raise UserError(f"unknown filter {low_pass!r}: choose one of {', '.join(LOW_PASSES)}")
        self.img_resolution, self.num_classes = img_resolution, num_classes
        self.mbstd_group, self.mbstd_channels = mbstd_group, mbstd_channels
        self.precision = Precision(img_resolution)
        widths = [feature_maps(r, channel_base, channel_max) for r in resolutions(img_resolution)[::-1]]
        self.from_rgbs = nn.ModuleList(HeConv2d(img_channels, width, 1) for width in widths)
        block = partial(DiscriminatorBlock, residual=False)
        if low_pass != "fir":
            block = partial(HeDiscriminatorBlock, low_pass=low_pass == "binomial")
        self.blocks = nn.ModuleList(block(a, b) for a, b in pairwise(widths))
        last = widths[-1]
        self.conv = HeConv2d(last + mbstd_channels, last, 3)
        self.fc = HeConv2d(last, last, 4)
        self.out = EqualLinear(last, last if num_classes else 1)
        self.projection = Projection(num_classes, last) if num_classes else None

    def forward(self, images: Tensor, parts: int = 1, alpha: float = 1.0, labels: Tensor | None = None) -> Tensor:
        """Compute the logits of images at their own resolution.

        Args:
            images: [N, C, r, r] in [-1, 1].
            parts: Number of independent batches that are stacked in `images`; their minibatch statistics stay apart.
            alpha: How far the resolution r has faded in, from 0 to 1.
            labels: int64 [N], where the network is conditioned on classes.

        Returns:
            Logits [N, 1].

        Raises:
            UserError: Labels are missing, or the network takes none.
        """
        check_labels(labels, self.num_classes)
        images = images.contiguous(memory_format=torch.channels_last)
        first = int(math.log2(self.img_resolution // images.shape[2]))
        x = self.from_rgb(first, images)  # [N, C, r, r]
        for k in range(first, len(self.blocks)):
            size = x.shape[2]
            x = self.blocks[k](x, self.precision.clamp(None, size))  # [N, C', r/2, r/2]
            x = self.precision.cast(x, size // 2, self.out.weight.dtype)
            if k == first and alpha < 1:
                x = self.from_rgb(k + 1, ops.average_downsample2x(images)).lerp(x, alpha)
        x = minibatch_stddev(x, self.mbstd_group, self.mbstd_channels, parts)  # [N, C + F, 4, 4]
        x = self.fc(self.conv(x)).flatten(1)  # [N, C]
        x = self.out(x)  # [N, 1], or the features [N, C] to project
        return x if self.projection is None else self.projection(x, labels)

    def from_rgb(self, k: int, images: Tensor) -> Tensor:
        """Turn images [N, img_channels, r, r] into feature maps [N, C, r, r] in the type of that resolution."""
        size = images.shape[2]
        return self.from_rgbs[k](self.precision.cast(images, size), self.precision.clamp(None, size))
