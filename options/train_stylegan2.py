"""Command line of scripts/train_stylegan2.py."""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from options.machine import Machine
from stylegan2.networks.stylegan2 import check_sizes
from stylegan2.runtime.errors import UserError
from stylegan2.trainer import TrainingSettings


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes of generator and discriminator."""

    resolution: int = 64
    """pixels of a side: a power of two from 16 to 1024"""
    channels: int = 3
    """image channels: 1 gray, 3 RGB, 4 RGBA"""
    z_dim: int = 512
    """size of the input latent z"""
    w_dim: int = 512
    """size of the intermediate latent w"""
    channel_base: int = 32768
    """channels are min(channel_base / resolution, channel_max); 32768 is configuration F, 16384 E"""
    channel_max: int = 512
    """most channels of a layer"""
    mapping_layers: int = 8
    """depth of the mapping network"""
    g_architecture: str = "skip"
    """skip, residual or plain (StyleGAN2, figure 7)"""
    d_architecture: str = "residual"
    """skip, residual or plain"""
    mbstd_group: int = 4
    """group size of minibatch standard deviation"""

    def __post_init__(self) -> None:
        check_sizes(self.resolution, self.channels, self.g_architecture)
        check_sizes(self.resolution, self.channels, self.d_architecture)
        for name in ("z_dim", "w_dim", "channel_max", "mapping_layers", "mbstd_group"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if self.channel_base < self.resolution:
            raise UserError(
                f"--channel_base must be at least the resolution, {self.resolution}, not {self.channel_base}"
            )


@dataclass(frozen=True)
class TrainStyleGAN2(Machine):
    """Train a StyleGAN2 generator. To resume, run the same command again."""

    data: str = "synthetic"
    """a folder or zip of images, or `synthetic` for the embedded procedural faces"""
    exp_dir: Path = Path("runs/stylegan2")
    """experiment folder: checkpoints, samples, TensorBoard logs, metrics.jsonl"""
    preset: str | None = None
    """a named set of defaults; flags given beside it win"""
    mirror: bool = False
    """flip half of the images"""
    workers: int = 1
    """processes that read or render images"""
    network: tyro.conf.OmitArgPrefixes[NetworkSettings] = field(default_factory=NetworkSettings)
    training: tyro.conf.OmitArgPrefixes[TrainingSettings] = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UserError(f"--workers must not be negative, but is {self.workers}")
