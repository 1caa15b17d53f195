"""Train a generator: python scripts/train_stylegan2.py --arch stylegan2 --data FOLDER --resolution 256 --exp_dir DIR

On N GPUs, of which each takes its share of --batch_size: torchrun --nproc_per_node=N scripts/train_stylegan2.py ...
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

from datasets.loader import MirroredImages, stream_batches
from datasets.sources import open_images, open_labels
from options import presets
from options.parse import parse, run
from options.train_stylegan2 import TrainStyleGAN2
from stylegan2 import transfer
from stylegan2.runtime import distributed
from stylegan2.runtime.randomness import seed_step
from stylegan2.trainer import train


def main() -> None:
    o = parse(TrainStyleGAN2, presets.of_generator)
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
