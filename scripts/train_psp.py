"""Train a pSp encoder: python scripts/train_psp.py --task inversion [--data FOLDER] [--stylegan_weights FILE]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

import torch

import psp
import stylegan2
from datasets.loader import stream_batches
from datasets.pairs import TaskPairs, fixed_batches
from datasets.sources import open_split
from datasets.tasks import find_task
from options import presets
from options.parse import parse, run
from options.train_psp import TrainPSp
from psp.encoders import encoder_for
from psp.encoders.irse import start_trunk
from psp.losses import build_losses
from psp.metrics import build_meters
from psp.model import PSp
from psp.trainer import train
from stylegan2.runtime import checkpoint
from stylegan2.runtime.device import pick_device, tune_process
from stylegan2.runtime.randomness import seed_step

LOSS_SIZE = 256  # the paper's losses look at 256 px; smaller generators are looked at as they are


def build_model(o: TrainPSp, source_channels: int) -> PSp:
    generator, _ = stylegan2.load(o.stylegan_weights)
    seed_step(o.training.seed, 0, 0)
    encoder = encoder_for(generator, o.encoder_type, source_channels)
    if o.trunk_weights is not None:
        start_trunk(encoder, o.trunk_weights)
    latent_avg = None if o.start_from_latent_avg else torch.zeros_like(generator.w_avg)
    model = PSp(encoder, generator, latent_avg)
    if o.checkpoint_path is not None:
        start, _ = psp.load(o.checkpoint_path)
        checkpoint.load_module(model.encoder, checkpoint.module_tensors("encoder", start.encoder), "encoder")
    return model


def main() -> None:
    o = parse(TrainPSp, presets.PSP)
    device = pick_device(o.device)
    tune_process()
    task = find_task(o.task)
    model = build_model(o, task.source_channels)
    target_size = min(LOSS_SIZE, model.generator.img_resolution)
    sizes = (model.encoder.input_size, target_size)

    pixels, held_out = open_split(o.data, o.test_data, max(sizes))
    seed = o.training.seed
    pairs = TaskPairs(pixels, task, *sizes, seed)
    print(f"{len(pairs):,} images of {o.data} for training, {len(held_out):,} held out; on {device}")
    losses = build_losses(o.losses.lambdas(task.lambdas), **o.losses.networks())
    meters = build_meters(**o.losses.networks())
    description = {
        "task": o.task,
        "encoder": {"name": model.encoder.registered_name, **model.encoder.config},
        "generator": {"name": model.generator.registered_name, **model.generator.config},
    }
    last = train(
        model,
        losses,
        stream_batches(pairs, len(pairs), o.training.batch_size, seed, o.workers),
        fixed_batches(TaskPairs(held_out, task, *sizes, seed), o.training.test_batch_size),
        meters,
        task.show_source,
        description,
        o.exp_dir,
        o.training,
        device,
    )
    print(f"done: {last}")


if __name__ == "__main__":
    run(main)
