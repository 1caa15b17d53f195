"""Train a generator: python scripts/train_stylegan2.py --arch stylegan2 --data FOLDER --resolution 256 --exp_dir DIR

On N GPUs, of which each takes its share of --batch_size: torchrun --nproc_per_node=N scripts/train_stylegan2.py ...
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

import tyro

from datasets.loader import MirroredImages, stream_batches
from datasets.sources import open_images, open_labels
from options.machine import Machine
from options.networks import chosen_settings, network_settings
from options.parse import parse, run
from stylegan2 import transfer
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import distributed
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.randomness import seed_step
from stylegan2.trainer import train
from stylegan2.training_state import TrainingSettings, check_fit

NetworkSettings = network_settings()


@dataclass(frozen=True)
class TrainStyleGAN2(Machine):
    """Train a generator: PGGAN, StyleGAN, StyleGAN2. To resume, run the same command again."""

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
            generator: Any = GENERATORS[self.network.arch]
            check_fit(self.training, self.network.resolution, generator.grows, generator.has_styles)


def main() -> None:
    o = parse(TrainStyleGAN2, chosen_settings)
    device = distributed.setup(o.prepare())
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
    seed_step(s.seed, 0, 0)
    G, D, G_ema = o.network.build(0 if labels is None else int(labels.max()) + 1, generator)
    last = train(G=G, D=D, G_ema=G_ema, batches=batches, run_dir=o.exp_dir, settings=s, device=device, initial=initial)
    print(f"done: {last}")


if __name__ == "__main__":
    run(main)
