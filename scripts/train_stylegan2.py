"""Train a generator: python scripts/train_stylegan2.py --arch stylegan2 --data FOLDER --resolution 256 --exp_dir DIR

On N GPUs, of which each takes its share of --batch_size: torchrun --nproc_per_node=N scripts/train_stylegan2.py ...
"""

import _start  # noqa: F401

# isort: split

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from datasets.loader import MirroredImages, stream_batches
from datasets.sources import SYNTHETIC, images_key, open_images, open_labels
from options.machine import Machine
from options.networks import chosen_settings, network_settings
from options.parse import run
from options.results import label, record_for, with_folder
from psp.evaluation.generator import NETWORKS, MetricInputs, evaluate_generator, parse_metrics
from psp.evaluation.real_images import RealImages
from stylegan2 import transfer
from stylegan2.networks.protocols import Generator
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import distributed
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.randomness import seed_step
from stylegan2.trainer import train
from stylegan2.training_state import TrainingSettings, check_fit

NetworkSettings = network_settings()
WRITES = ("checkpoints", "logs", "metrics.jsonl", "samples")
DISTANCES = [name for name in NETWORKS if name.startswith(("fd", "kd", "fid", "kid"))]


@dataclass(frozen=True)
class TrainStyleGAN2(Machine):
    """Train a generator: PGGAN, StyleGAN, StyleGAN2. To resume, run the same command again."""

    data: str = "synthetic"
    """a folder or zip of images, or `synthetic` for the embedded procedural faces"""
    exp_dir: Path | None = None
    """experiment folder: checkpoints, samples, TensorBoard logs, metrics.jsonl, config.yaml; by default
    runs/ARCHITECTURE-DATA-RESOLUTION"""
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
    metrics: str = ""
    """measured every metrics_interval images, comma-separated, such as fd_effnet: the distances between sets of
    images of evaluate_generator.py. checkpoints/best_model.safetensors has the lowest value of the first one"""
    metrics_samples: int = 5_000
    """generated images that they are measured on"""
    network: tyro.conf.OmitArgPrefixes[NetworkSettings] = field(default_factory=NetworkSettings)
    training: tyro.conf.OmitArgPrefixes[TrainingSettings] = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UserError(f"--workers must not be negative, but is {self.workers}")
        if self.metrics_samples < 1:
            raise UserError(f"--metrics_samples must be at least 1, not {self.metrics_samples}")
        if self.metrics and (unfit := set(parse_metrics(self.metrics)) - set(DISTANCES)):
            raise UserError(f"{min(unfit)} is not measured during training: choose of {', '.join(DISTANCES)}")
        if self.training.freeze_d and self.init_from is None:
            raise UserError("--freeze_d keeps layers of a trained discriminator: give its file with --init_from")
        if self.init_from is None:
            generator: Any = GENERATORS[self.network.arch]
            check_fit(self.training, self.network.resolution, generator.grows, generator.has_styles)


def metrics_of(names: list[str], real: RealImages, num_samples: int, G_ema: Generator) -> dict[str, float]:
    """Return the values of some metrics of a generator in training."""
    results = evaluate_generator(MetricInputs(G_ema, real, held_out=(), num_samples=num_samples), names)
    return {name: value for result in results.values() for name, value in result.values.items()}


def main(o: TrainStyleGAN2) -> None:
    device = distributed.setup(o.prepare())
    o = with_folder(o, f"{o.network.arch}-{label(o.data)}-{o.network.resolution}")
    record = record_for(o, "train_stylegan2", writes=WRITES, fixed=(), marks=WRITES[:1])
    s, resolution, channels = o.training, o.network.resolution, o.network.channels
    generator = initial = None
    if o.init_from is not None:
        generator, initial = transfer.read(o.init_from, s.freeze_d, o.network.d == "own")
        resolution, channels = generator.img_resolution, generator.img_channels
        s = replace(s, grow_from=None)

    pixels = open_images(o.data, resolution, channels)
    labels = open_labels(pixels, o.data) if o.conditional else None
    print(f"{len(pixels):,} images of {o.data} at {resolution} px, on {device}")
    batches = stream_batches(
        MirroredImages(pixels, o.mirror, s.seed, labels),
        len(pixels),
        lambda nimg: s.batch_size_at(nimg, resolution),
        s.seed,
        o.workers,
    )
    evaluate = None
    if o.metrics:
        num_real = o.metrics_samples if o.data == SYNTHETIC else len(pixels)
        real = RealImages(pixels, images_key(o.data, pixels, resolution, channels), num_real)
        evaluate = partial(metrics_of, parse_metrics(o.metrics), real, o.metrics_samples)
    seed_step(s.seed, 0, 0)
    G, D, G_ema = o.network.build(0 if labels is None else int(labels.max()) + 1, generator)
    record.write()
    last = train(
        G=G,
        D=D,
        G_ema=G_ema,
        batches=batches,
        run_dir=o.exp_dir,
        settings=s,
        device=device,
        initial=initial,
        evaluate=evaluate,
    )
    print(f"done: {last}")


if __name__ == "__main__":
    run(main, TrainStyleGAN2, chosen_settings)
