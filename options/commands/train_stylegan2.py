"""The settings of scripts/train_stylegan2.py."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from options.networks import chosen_settings, network_settings, preset_names
from options.registered import one_of
from options.shared import Machine
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Count, Positive, Workers
from stylegan2.training_settings import TrainingSettings, check_fit

PRESETS = chosen_settings
NetworkSettings = network_settings()


@dataclass(frozen=True)
class TrainStyleGAN2(Machine):
    """Train a generator such as PGGAN, StyleGAN or StyleGAN2. To resume, run the same command again."""

    data: str = "synthetic"
    """a folder or zip of images, WebDataset shards such as FOLDER/{000000..000999}.tar, local or by URL, or `synthetic`
    for the embedded procedural faces"""
    exp_dir: Path | None = None
    """experiment folder: checkpoints, samples, TensorBoard logs, metrics.jsonl, config.yaml; by default
    runs/ARCHITECTURE-DATA-RESOLUTION"""
    preset: Annotated[str | None, one_of(preset_names())] = None
    """a named set of defaults; flags take precedence over it"""
    mirror: bool = False
    """mirror half of the images"""
    conditional: bool = False
    """condition on the labels of the data: classes, or vectors of attributes and measured values"""
    init_from: str | None = None
    """start from a trained generator and, if the file contains it, its discriminator. Sizes are those of the file,
    except --resolution, --channels and the classes of the data; the resolution does not grow; weights that fit are
    kept, and their number is reported"""
    init_psi: Positive = 1.0
    """truncation psi that the mapping network of --init_from learns before the training; with more than 1 its samples
    vary more"""
    workers: Workers = 1
    """number of processes that read or render images"""
    process_timeout: Positive = 60.0
    """seconds without a sign of life from a process of torchrun after which the others end"""
    dry_run: bool = False
    """print settings, sizes of networks, and memory and time of a few steps; write nothing"""
    metrics: str = ""
    """comma-separated metrics of evaluate_generator.py, such as fd_effnet, that compare sets of images. They are
    computed every metrics_interval images, and checkpoints/best_model.safetensors has the lowest value of the first
    one"""
    metrics_samples: Count = 5_000
    """number of generated images for --metrics"""
    network: tyro.conf.OmitArgPrefixes[NetworkSettings] = field(default_factory=NetworkSettings)  # pyright: ignore[reportInvalidTypeForm]
    training: tyro.conf.OmitArgPrefixes[TrainingSettings] = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        if self.metrics:
            self._check_metrics()
        if self.training.freeze_d and self.init_from is None:
            raise UserError("--freeze_d freezes layers of a trained discriminator: give its file with --init_from")
        if self.init_psi != 1 and self.init_from is None:
            raise UserError("--init_psi changes a trained mapping network: give its file with --init_from")
        if self.training.freeze_synthesis and self.init_from is None:
            raise UserError("--freeze_synthesis freezes a trained synthesis network: give its file with --init_from")
        if self.init_from is None:
            from stylegan2.networks.registry import GENERATORS

            generator: object = GENERATORS[self.network.arch]
            check_fit(self.training, self.network.resolution, generator.grows, generator.has_styles)

    def _check_metrics(self) -> None:
        from psp.evaluation.generator import NETWORKS, parse_metrics

        distances = [name for name in NETWORKS if name.startswith(("fd", "kd", "fid", "kid"))]
        if unfit := set(parse_metrics(self.metrics)) - set(distances):
            raise UserError(f"{min(unfit)} cannot be measured during training: choose from {', '.join(distances)}")
