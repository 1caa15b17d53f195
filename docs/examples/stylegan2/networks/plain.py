"""A generator in one file: `--arch plain --preset small` trains it, `scripts/generate.py` shows what it learns.

The mapping network is StyleGAN's. A code scales and shifts the features of its resolution (FiLM, Perez et al. 2018).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan2.networks.mapping import Mapping
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS, Preset, Settings
from stylegan2.networks.sizes import check_sizes, resolutions
from stylegan2.runtime.errors import UserError


class Synthesis(nn.Module):
    """ws -> image: from a constant of 4x4 pixels, one block and one code for each resolution."""

    def __init__(self, w_dim: int, img_resolution: int, img_channels: int, width: int) -> None:
        super().__init__()
        blocks = len(resolutions(img_resolution))
        self.const = nn.Parameter(torch.randn(1, width, 4, 4))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(blocks))
        self.affines = nn.ModuleList(nn.Linear(w_dim, 2 * width) for _ in range(blocks))
        self.to_rgb = nn.Conv2d(width, img_channels, 1)

    def forward(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        """ws [N, num_ws, w_dim] -> images [N, img_channels, R, R], about [-1, 1]; there is no noise."""
        x = self.const.repeat(len(ws), 1, 1, 1)  # [N, width, 4, 4]
        for k, (conv, affine) in enumerate(zip(self.convs, self.affines, strict=True)):
            if k > 0:
                x = F.interpolate(x, scale_factor=2.0)  # [N, width, 2 r, 2 r]
            scale, shift = affine(ws[:, k])[:, :, None, None].chunk(2, dim=1)  # [N, width, 1, 1] each
            x = F.leaky_relu((1 + scale) * conv(x) + shift, 0.2)  # [N, width, r, r]
        return self.to_rgb(x)  # [N, img_channels, R, R]


# There is no paper: settings that differ from StyleGAN2's, and a preset to try them in a minute.
PUBLISHED: Settings = {"path_length_interval": 0, "ema_rampup": None}
PRESETS: dict[str, Preset] = {"small": {"resolution": 16, "w_dim": 32, "z_dim": 32, "width": 16, "batch_size": 8}}


@GENERATORS.register("plain")
class Generator(nn.Module):
    """A generator of few parameters.

    Args:
        img_resolution: Pixels of a side, a power of two.
        img_channels: 1 gray, 3 RGB, 4 RGBA.
        z_dim: Size of the input latent z.
        w_dim: Size of a code w.
        width: Channels of all feature maps.
    """

    grows = False
    has_styles = True
    published, presets = PUBLISHED, PRESETS

    def __init__(
        self, img_resolution: int, img_channels: int = 3, z_dim: int = 512, w_dim: int = 512, width: int = 64
    ) -> None:
        super().__init__()
        check_sizes(img_resolution, img_channels, "plain")
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.z_dim, self.w_dim, self.num_ws, self.num_classes = z_dim, w_dim, len(resolutions(img_resolution)), 0
        self.mapping = Mapping(z_dim, w_dim, self.num_ws, layers=2)
        self.synthesis = Synthesis(w_dim, img_resolution, img_channels, width)

    @property
    def w_avg(self) -> Tensor:
        return self.mapping.w_avg

    def forward(
        self, z: Tensor, truncation_psi: float = 1.0, noise_mode: str = "const", labels: Tensor | None = None
    ) -> Tensor:
        """z [N, z_dim] -> images [N, img_channels, R, R]."""
        return self.synthesis(self.mapping(z, truncation_psi, labels=labels), noise_mode)


@DISCRIMINATORS.register("plain")
class Discriminator(nn.Module):
    """Convolutions that each halve the image, down to 4x4 pixels. Arguments: see the generator."""

    num_classes = 0
    mbstd_group = 1  # no image sees the others of its batch

    def __init__(self, img_resolution: int, img_channels: int = 3, width: int = 64) -> None:
        super().__init__()
        widths = [img_channels] + [width] * (len(resolutions(img_resolution)) - 1)
        self.convs = nn.ModuleList(nn.Conv2d(a, width, 3, stride=2, padding=1) for a in widths[:-1])
        self.linear = nn.Linear(width * 16, 1)

    def forward(self, images: Tensor, parts: int = 1, labels: Tensor | None = None) -> Tensor:
        """images [N, img_channels, R, R] -> logits [N, 1]. UserError: labels, for which there is no place."""
        if labels is not None:
            raise UserError("the plain discriminator does not support classes")
        x = images
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)  # [N, width, r / 2, r / 2]
        return self.linear(x.flatten(1))  # [N, 1]
