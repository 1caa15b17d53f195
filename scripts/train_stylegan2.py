"""Train a StyleGAN2 generator: python scripts/train_stylegan2.py --data FOLDER --resolution 256 --exp_dir runs/mine"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

from datasets.loader import MirroredImages, stream_batches
from datasets.sources import open_images
from options import presets
from options.parse import parse, run
from options.train_stylegan2 import NetworkSettings, TrainStyleGAN2
from stylegan2.networks.stylegan2 import Discriminator, Generator
from stylegan2.runtime.randomness import seed_step
from stylegan2.trainer import train


def build_networks(n: NetworkSettings) -> tuple[Generator, Discriminator, Generator]:
    widths = {"channel_base": n.channel_base, "channel_max": n.channel_max}
    sizes = {"z_dim": n.z_dim, "w_dim": n.w_dim, "mapping_layers": n.mapping_layers, **widths}
    G = Generator(n.resolution, n.channels, architecture=n.g_architecture, **sizes)
    G_ema = Generator(n.resolution, n.channels, architecture=n.g_architecture, **sizes)
    D = Discriminator(n.resolution, n.channels, architecture=n.d_architecture, mbstd_group=n.mbstd_group, **widths)
    return G, D, G_ema


def main() -> None:
    options = parse(TrainStyleGAN2, presets.STYLEGAN2)
    device = options.prepare()
    seed = options.training.seed
    pixels = open_images(options.data, options.network.resolution, options.network.channels)
    print(f"{len(pixels):,} images of {options.data} at {options.network.resolution} px, on {device}")
    batches = stream_batches(
        MirroredImages(pixels, options.mirror, seed), len(pixels), options.training.batch_size, seed, options.workers
    )
    seed_step(seed, 0, 0)
    networks = build_networks(options.network)
    last = train(*networks, batches, options.exp_dir, options.training, device)
    print(f"done: {last}")


if __name__ == "__main__":
    run(main)
