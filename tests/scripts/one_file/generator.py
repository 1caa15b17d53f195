"""DCGAN (Radford et al. 2016, arXiv 1511.06434): transposed convolutions, with one latent for the whole image."""

from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan2.networks.pggan import Normalization
from stylegan2.networks.presets import Preset, Settings
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.networks.sizes import feature_maps, resolutions


class Synthesis(nn.Module):
    """ws [N, 1, w_dim] -> images [N, img_channels, R, R] in [-1, 1]."""

    def __init__(self, w_dim: int, widths: list[int], img_channels: int, slope: float) -> None:
        super().__init__()
        self.first = nn.ConvTranspose2d(w_dim, widths[0], 4)
        self.layers = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.to_rgb = nn.Conv2d(widths[-1], img_channels, 1)
        self.slope = slope

    def forward(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        x = self.first(ws[:, 0, :, None, None])  # [N, C, 4, 4]
        for layer in self.layers:
            x = layer(F.leaky_relu(x, self.slope))  # [N, C', 2H, 2W]
        return torch.tanh(self.to_rgb(x))  # [N, img_channels, R, R]


@GENERATORS.register("dcgan")
class Generator(nn.Module):
    """DCGAN's generator.

    Args:
        img_resolution: Pixels of a side.
        img_channels: 1 gray, 3 RGB, 4 RGBA.
        z_dim: Size of the input latent z.
        channel_base: Channels are min(channel_base / resolution, channel_max).
        channel_max: Most channels of a layer.
        slope: Slope of the leaky ReLU below 0.
    """

    published: ClassVar[Settings] = {"style_mixing": 0.0, "path_length_interval": 0, "learning_rate": 0.0002}
    presets: ClassVar[dict[str, Preset]] = {
        "dcgan-tiny": {"resolution": 32, "z_dim": 8, "channel_base": 64, "channel_max": 8, "batch_size": 4}
    }
    grows, has_styles = False, False
    num_ws, num_classes = 1, 0

    def __init__(
        self,
        img_resolution: int,
        img_channels: int = 3,
        z_dim: int = 100,
        channel_base: int = 8192,
        channel_max: int = 1024,
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.z_dim = self.w_dim = z_dim
        widths = [feature_maps(r, channel_base, channel_max) for r in resolutions(img_resolution)]
        self.mapping = Normalization(z_dim, num_classes=0)
        self.synthesis = Synthesis(z_dim, widths, img_channels, slope)

    @property
    def w_avg(self) -> Tensor:
        return self.mapping.w_avg

    def forward(
        self, z: Tensor, truncation_psi: float = 1.0, noise_mode: str = "const", labels: Tensor | None = None
    ) -> Tensor:
        """z [N, z_dim] -> images [N, img_channels, R, R]."""
        return self.synthesis(self.mapping(z, truncation_psi, labels=labels), noise_mode)


@DISCRIMINATORS.register("dcgan")
class Discriminator(nn.Module):
    """DCGAN's discriminator, without batch normalisation: images [N, C, R, R] -> logits [N, 1]."""

    num_classes = 0
    mbstd_group = 1  # no sample's logit depends on another sample

    def __init__(
        self, img_resolution: int, img_channels: int = 3, channel_base: int = 8192, channel_max: int = 1024
    ) -> None:
        super().__init__()
        widths = [feature_maps(r, channel_base, channel_max) for r in resolutions(img_resolution)[::-1]]
        self.from_rgb = nn.Conv2d(img_channels, widths[0], 1)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.out = nn.Conv2d(widths[-1], 1, 4)

    def forward(self, images: Tensor, parts: int = 1, labels: Tensor | None = None) -> Tensor:
        x = self.from_rgb(images)  # [N, C, R, R]
        for layer in self.layers:
            x = layer(F.leaky_relu(x, 0.2))  # [N, C', H/2, W/2]
        return self.out(F.leaky_relu(x, 0.2)).flatten(1)  # [N, 1]
