"""Command line of scripts/train_stylegan2.py."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tyro
from torch import nn

from options.machine import Machine
from psp.perception.efficientnet_lite0 import load_efficientnet_lite0
from stylegan2.networks import projected
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.networks.sizes import check_sizes
from stylegan2.networks.stylegan import check_normalization
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import built_as
from stylegan2.training_state import TrainingSettings, check_fit

DISCRIMINATOR_KINDS = ("own", "projected")
SMALLEST_SIDE, LARGEST_SIDE = 128, 224  # of the images that the projected discriminator's features see


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes of generator and discriminator."""

    arch: str = "stylegan2"
    """pggan, stylegan or stylegan2: everything else is as published, unless a preset or a flag says otherwise"""
    resolution: int = 64
    """pixels of a side: a power of two from 8 to 2048"""
    channels: int = 3
    """image channels: 1 gray, 3 RGB, 4 RGBA"""
    z_dim: int = 512
    """size of the input latent z"""
    w_dim: int = 512
    """size of the intermediate latent w (not PGGAN)"""
    channel_base: int = 32768
    """channels are min(channel_base / resolution, channel_max); 32768 is configuration F, 16384 E"""
    channel_max: int = 512
    """most channels of a layer"""
    mapping_layers: int = 8
    """depth of the mapping network (not PGGAN)"""
    normalization: str = "adain"
    """StyleGAN's: adain, or demodulation as in StyleGAN2's configurations B to D"""
    g_architecture: str = "skip"
    """StyleGAN2's: skip, residual or plain (figure 7)"""
    d_architecture: str = "residual"
    """StyleGAN2's: skip, residual or plain"""
    d: str = "own"
    """the discriminator: own, the architecture's, or projected (Sauer et al. 2021), which judges by the features of
    EfficientNet-Lite0 and learns from few images in a fraction of the steps; it sets the hinge loss, without R1 and
    path length"""
    d_side: int | None = None
    """the projected one's: to which side images are enlarged for the features, a multiple of 32; by default twice the
    resolution, from 128 to 224"""
    mbstd_group: int = 4
    """group size of minibatch standard deviation"""

    def __post_init__(self) -> None:
        if self.arch not in DISCRIMINATORS:
            raise UserError(
                f"there is no architecture {self.arch!r}: choose one of {', '.join(DISCRIMINATORS.names())}"
            )
        check_sizes(self.resolution, self.channels, self.g_architecture)
        check_sizes(self.resolution, self.channels, self.d_architecture)
        check_normalization(self.normalization)
        if self.d not in DISCRIMINATOR_KINDS:
            raise UserError(f"--d must be {' or '.join(DISCRIMINATOR_KINDS)}, not {self.d!r}")
        if self.d_side is not None and (self.d_side < 64 or self.d_side % 32):
            raise UserError(f"--d_side must be 64, 96, 128 or a further multiple of 32, not {self.d_side}")
        for name in ("z_dim", "w_dim", "channel_max", "mapping_layers", "mbstd_group"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if self.channel_base < self.resolution:
            raise UserError(
                f"--channel_base must be at least the resolution, {self.resolution}, not {self.channel_base}"
            )

    def build(self, num_classes: int = 0, like: nn.Module | None = None) -> tuple[nn.Module, nn.Module, nn.Module]:
        """(G, D, G_ema) with new weights; of the sizes of another generator where `like` gives one."""
        arch = built_as(like)["name"] if like else self.arch
        if arch not in DISCRIMINATORS:
            raise UserError(f"a {arch} generator cannot be trained further here: it has no discriminator")
        if arch != self.arch:
            raise UserError(f"the generator to start from is a {arch}: give --arch {arch}, which sets its losses too")
        if like is not None and like.num_classes != num_classes:
            raise UserError(f"the generator to start from knows {like.num_classes} classes, but the data {num_classes}")
        sizes = {**asdict(self), "img_resolution": self.resolution, "img_channels": self.channels}
        sizes |= {"num_classes": num_classes, **(built_as(like) if like else {})}
        of_G = sizes if like else {**sizes, "architecture": self.g_architecture}
        G, G_ema = GENERATORS.build_from(arch, of_G), GENERATORS.build_from(arch, of_G)
        if self.d == "projected":
            D: nn.Module = self._projected(G)
        else:
            D = DISCRIMINATORS.build_from(arch, {**sizes, "architecture": self.d_architecture})
        return G, D, G_ema

    def _projected(self, G: Any) -> projected.Discriminator:
        """The projected discriminator for this generator, on features that come with this package's requirements."""
        side = self.d_side or max(SMALLEST_SIDE, min(2 * G.img_resolution, LARGEST_SIDE))
        return projected.Discriminator(load_efficientnet_lite0(), G.img_channels, side, G.num_classes)


@dataclass(frozen=True)
class TrainStyleGAN2(Machine):
    """Train a PGGAN, StyleGAN or StyleGAN2 generator. To resume, run the same command again."""

    data: str = "synthetic"
    """a folder or zip of images, or `synthetic` for the embedded procedural faces"""
    exp_dir: Path = Path("runs/stylegan2")
    """experiment folder: checkpoints, samples, TensorBoard logs, metrics.jsonl"""
    preset: str | None = None
    """a named set of defaults; flags given beside it win"""
    mirror: bool = False
    """flip half of the images"""
    conditional: bool = False
    """condition on the labels of the data"""
    init_from: str | None = None
    """start from a trained generator, and from the discriminator where the file has it: sizes are as there, and nothing
    grows"""
    workers: int = 1
    """processes that read or render images"""
    network: tyro.conf.OmitArgPrefixes[NetworkSettings] = field(default_factory=NetworkSettings)
    training: tyro.conf.OmitArgPrefixes[TrainingSettings] = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UserError(f"--workers must not be negative, but is {self.workers}")
        if self.training.freeze_d and self.init_from is None:
            raise UserError("--freeze_d keeps layers of a trained discriminator: give its file with --init_from")
        if self.init_from is None:
            system = GENERATORS[self.network.arch]
            check_fit(self.training, self.network.resolution, system.grows, system.has_styles)  # type: ignore[attr-defined]
