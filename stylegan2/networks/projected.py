"""Projected discriminator (Sauer et al. 2021, arXiv 2111.01007): small heads on the features of a frozen network.

An image is augmented, enlarged and passed to a network that was trained on other images. Its four feature maps are
mixed with each other by fixed random convolutions (section 3.2), and each of the four mixtures has a head of its own
(section 3.1). The heads have little to learn, because the features describe images well: with a thousand images, a
generator needs only a fraction of the steps that it needs with a discriminator that is trained from scratch.

The discriminator works with any generator, because it depends neither on its layers nor on its resolution.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from stylegan2.networks.conditioning import LabelEmbedding, check_labels
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.module import Module
from stylegan2.runtime.randomness import draw_shard

Frozen = TypeVar("Frozen", bound=Module)
MIXED_WIDTHS = (64, 128, 256, 512)
"""channels of the four maps, from fine to coarse, after cross-channel mixing"""
HEAD_WIDTH = 512
LABEL_FEATURES = 64
STRIDE = 32
"""stride of the coarsest map; the side of the network's input is a multiple of it"""
NORM_GROUP = 16


class Backbone(Module, Protocol):
    """A network that computes feature maps of images: any torch.nn.Module with this method."""

    def pyramid(self, images: Tensor) -> Sequence[Tensor]:
        """Map images [N, 3, S, S] in [-1, 1] to four maps [N, C_k, S/4, S/4], ..., [N, C_k, S/32, S/32]."""
        ...


class Discriminator(nn.Module):
    """Discriminator of images [N, C, R, R] in [-1, 1] with logits [N, K], one for each position and scale.

    Checkpoints contain the random mixing, but not the backbone, which has to be passed again.

    Args:
        backbone: The network that computes feature maps, which becomes constant.
        img_channels: 3 for RGB; 1 for grayscale, which the backbone receives as three equal channels; or 4 for RGBA, of
            which the backbone receives only the colours.
        side: S, the side to which images are resized; a multiple of 32, at least 64. The paper takes 256; a smaller
            side is cheaper and shows less detail.
        num_classes: Number of classes for conditioning by projection; 0 for none.

    Raises:
        UserError: `side` or `img_channels` is not allowed.
    """

    backbone: Backbone
    mbstd_group = 1  # no sample's logits depend on another sample
    blocks = ()  # there are no layers that transfer could freeze

    def __init__(self, backbone: Backbone, img_channels: int = 3, side: int = 224, num_classes: int = 0) -> None:
        super().__init__()
        if side < 2 * STRIDE or side % STRIDE:
            raise UserError(f"the features' images must have a side of {2 * STRIDE}, {3 * STRIDE}, ..., not {side}")
        if img_channels not in (1, 3, 4):
            raise UserError(f"a projected discriminator takes images of 1, 3 or 4 channels, not {img_channels}")
        self.backbone, self.side, self.num_classes = constant(backbone), side, num_classes
        with torch.no_grad():
            maps = self.backbone.pyramid(torch.zeros(1, 3, side, side))
        self.mixing = Mixing([features.shape[1] for features in maps])
        self.heads = nn.ModuleList(
            Head(width, halvings, min(4, side // STRIDE), num_classes)
            for width, halvings in zip(self.mixing.widths, (4, 3, 2, 1), strict=True)
        )

    def forward(self, images: Tensor, parts: int = 1, labels: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """Compute the logits [N, K] of images, each of which is augmented on its own.

        Args:
            images: [N, C, R, R] in [-1, 1].
            parts: Ignored, as no sample's logits depend on another sample.
            labels: int64 [N], where the discriminator is conditioned on classes.
            alpha: Ignored, as the images are already faded.
        """
        check_labels(labels, self.num_classes)
        images = images[:, :3].expand(-1, 3, -1, -1)  # [N, 3, R, R]
        images = resize(augment(images), self.side)  # [N, 3, S, S]
        mixtures = self.mixing(self.backbone.pyramid(images))
        return torch.cat([head(x, labels) for head, x in zip(self.heads, mixtures, strict=True)], dim=1)  # [N, K]


class Mixing(nn.Module):
    """Cross-channel and cross-scale mixing by fixed random convolutions (section 3.2, figure 2).

    Mixing makes the discriminator use all features; otherwise it could rely on the few that separate fakes best.

    Attributes:
        widths: Channels of the four mixtures, from fine to coarse.
    """

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.widths = (MIXED_WIDTHS[0], *MIXED_WIDTHS[:-1])
        for k, (seen, mixed, passed_on) in enumerate(zip(channels, MIXED_WIDTHS, self.widths, strict=True)):
            self.register_buffer(f"across_channels_{k}", random_projection(seen, mixed))
            self.register_buffer(f"between_scales_{k}", random_projection(mixed, passed_on))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Turn four maps of sides S/4 to S/32 into four mixtures of sides S/2 to S/16.

        Each mixture includes the coarser ones.
        """
        mixtures: list[Tensor] = []
        for k in reversed(range(len(maps))):
            x = F.conv2d(maps[k], self.get_buffer(f"across_channels_{k}"))  # [N, MIXED_WIDTHS[k], H, W]
            if mixtures:
                x = x + mixtures[0]
            # The convolution commutes with the resampling and is cheaper before it.
            x = F.conv2d(x, self.get_buffer(f"between_scales_{k}"))  # [N, widths[k], H, W]
            mixtures.insert(0, resize(x, 2 * x.shape[2]))  # [N, widths[k], 2H, 2W]
        return mixtures


def random_projection(in_channels: int, out_channels: int) -> Tensor:
    """Draw a 1x1 convolution's weight [O, I, 1, 1] that keeps the variance."""
    return torch.randn(out_channels, in_channels, 1, 1) / math.sqrt(in_channels)  # [O, I, 1, 1]


class Head(nn.Module):
    """Convolutions that halve a mixture to 1/32 of the image, then logits, with spectral norm (Miyato et al. 2018).

    Group normalisation keeps the scale of the signal without depending on other samples.
    """

    def __init__(self, width: int, halvings: int, kernel: int, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for k in reversed(range(halvings)):
            wider = HEAD_WIDTH >> k
            layers += [normed_conv(width, wider, 4, stride=2), nn.GroupNorm(wider // NORM_GROUP, wider)]
            layers += [nn.LeakyReLU(0.2, inplace=True)]
            width = wider
        self.layers = nn.Sequential(*layers)
        self.out = normed_conv(width, LABEL_FEATURES if num_classes else 1, kernel)
        self.embedding = LabelEmbedding(num_classes, LABEL_FEATURES) if num_classes else None

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Map x [N, width, H, W], and labels int64 [N] of a conditional head, to logits [N, places]."""
        x = self.out(self.layers(x))  # [N, 1 or LABEL_FEATURES, h, w]
        if self.embedding is not None and labels is not None:
            x = x * self.embedding(labels)[:, :, None, None] / math.sqrt(LABEL_FEATURES)
        return x.sum(1).flatten(1)  # [N, h * w]


def normed_conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Module:
    """Build a convolution of spectral norm 1, which reduces H to H / stride.

    Its stored weight is drawn from N(0, 1), so that the steps of the optimizer have the same relative size as in the
    layers of the generator.
    """
    padding = (kernel - stride) // 2 if stride > 1 else 0
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=stride > 1)
    nn.init.normal_(conv.weight)
    return spectral_norm(conv)


def constant(module: Frozen) -> Frozen:
    """Make the parameters and buffers of a module constant: they move between devices, but are not trained or saved."""
    for part in module.modules():
        for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            delattr(part, name)
            part.register_buffer(name, tensor.detach(), persistent=False)
    return module.eval()


# --- resampling ---


def resize(images: Tensor, side: int) -> Tensor:
    """Resize bilinearly, with antialiasing where the image shrinks: [N, C, R, R] -> [N, C, side, side].

    It is a product with one matrix along each axis, so that its gradient is deterministic on every device.
    """
    matrix = _resampling(images.shape[2], side, images.dtype, images.device)
    return matrix @ images @ matrix.T


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a tensor created in inference mode could not be used in a later training step
def _resampling(size: int, side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the weights [side, size] of the resampling along one axis."""
    identity = torch.eye(size)[None, None]  # [1, 1, size, size]
    rows = F.interpolate(identity, (side, size), mode="bilinear", antialias=True)  # [1, 1, side, size]
    return rows[0, 0].to(device, dtype)


# --- differentiable augmentation ---


def augment(images: Tensor) -> Tensor:
    """Augment images [N, 3, R, R] in [-1, 1] differentiably: colour, translation, cutout (Zhao et al. 2020)."""
    return cut_out(translate(recolour(images)))


def recolour(images: Tensor) -> Tensor:
    """Change brightness by up to 0.5, saturation by a factor of 0 to 2 and contrast by 0.5 to 1.5: [N, 3, R, R]."""
    brightness, saturation, contrast = (_uniform(images)[:, :, None, None] for _ in range(3))  # [N, 1, 1, 1] each
    images = images + (brightness - 0.5)
    gray = images.mean(1, keepdim=True)  # [N, 1, R, R]
    images = gray + (images - gray) * (2 * saturation)
    level = images.mean([1, 2, 3], keepdim=True)  # [N, 1, 1, 1]
    return level + (images - level) * (contrast + 0.5)


def translate(images: Tensor, share: float = 1 / 8) -> Tensor:
    """Move by whole pixels, at most `share` of the side, and fill with 0: [N, C, R, R] -> [N, C, R, R]."""
    side = images.shape[2]
    reach = round(share * side)
    pixels = torch.arange(side, device=images.device)
    down, across = (
        (pixels[:, None] - pixels == ((2 * reach + 1) * _uniform(images)).floor()[:, :, None] - reach).to(images)
        for _ in range(2)
    )  # [N, R, R] each: row r of the result is row r - shift of the image
    return down[:, None] @ images @ across[:, None].mT


def cut_out(images: Tensor, share: float = 1 / 2) -> Tensor:
    """Set a square of `share` of the side, centred anywhere in the image, to 0: [N, C, R, R] -> [N, C, R, R]."""
    side = images.shape[2]
    pixels = torch.arange(side, device=images.device)
    rows, columns = (
        ((pixels - side * _uniform(images)).abs() <= share * side / 2) for _ in range(2)
    )  # [N, R] each: the rows and columns that the square covers
    return images * ~(rows[:, :, None] & columns[:, None, :])[:, None]


def _uniform(images: Tensor) -> Tensor:
    """Draw one number from 0 to 1 for each sample: [N, 1]."""
    return draw_shard(lambda count: torch.rand(count, 1, device=images.device), len(images))
