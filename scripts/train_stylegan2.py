"""Train a generator: python scripts/train_stylegan2.py --arch stylegan2 --data FOLDER --resolution 256 --exp_dir DIR

On N GPUs, which share --batch_size: torchrun --nproc_per_node=N scripts/train_stylegan2.py ...
"""

import _start  # noqa: F401

# isort: split

from dataclasses import replace
from functools import partial

import torch

from datasets.labels import number_of_classes, rows_to_keep
from datasets.loader import stream_batches
from datasets.sources import SYNTHETIC, images_key, open_images, open_labels, sampler_of
from datasets.training_data import MirroredImages
from options.commands.train_stylegan2 import PRESETS, TrainStyleGAN2
from options.parse import given_fields, run
from options.results import label, record_for, with_folder
from psp.evaluation.features import RealImages
from psp.evaluation.generator import MetricInputs, evaluate_generator, parse_metrics
from stylegan2 import transfer
from stylegan2.dry_run import estimate
from stylegan2.networks.conditioning import keep_label_rows
from stylegan2.networks.protocols import Generator
from stylegan2.runtime import distributed
from stylegan2.runtime.estimate import parameter_counts
from stylegan2.runtime.randomness import seed_step
from stylegan2.trainer import train

WRITES = ("checkpoints", "logs", "metrics.jsonl", "samples")


def metrics_of(names: list[str], real: RealImages, num_samples: int, G_ema: Generator) -> dict[str, float]:
    """Compute metrics of a generator during its training, from `num_samples` images: {name: value}."""
    results = evaluate_generator(MetricInputs(G_ema, real, held_out=(), num_samples=num_samples), names)
    return {name: value for result in results.values() for name, value in result.values.items()}


def main(o: TrainStyleGAN2) -> None:
    device = distributed.setup(o.prepare(), o.process_timeout)
    o = with_folder(o, f"{o.network.arch}-{label(o.data)}-{o.network.resolution}")
    record = record_for(o, "train_stylegan2", writes=WRITES, fixed=(), marks=WRITES[:1])
    s, given = o.training, given_fields(TrainStyleGAN2)
    generator = initial = None
    if o.init_from is not None:
        generator, initial = transfer.read(o.init_from, s.freeze_d, o.init_psi)
        s = replace(s, grow_from=None)
    resolution, channels = o.network.image_sizes(generator, given)

    pixels = open_images(o.data, resolution, channels)
    labels = open_labels(pixels, o.data) if o.conditional else None
    print(f"{len(pixels):,} images of {o.data} at {resolution} px, on {device}")
    batches = stream_batches(
        MirroredImages(pixels, o.mirror, s.seed, labels),
        len(pixels),
        lambda nimg: s.batch_size_at(nimg, resolution),
        s.seed,
        o.workers,
        sampler_of(pixels),
    )
    evaluate = None
    if o.metrics:
        num_real = o.metrics_samples if o.data == SYNTHETIC else len(pixels)
        real = RealImages(pixels, images_key(o.data, pixels, resolution, channels), num_real)
        evaluate = partial(metrics_of, parse_metrics(o.metrics), real, o.metrics_samples)
    seed_step(s.seed, 0, 0)
    G, D, G_ema = o.network.build(number_of_classes(labels), generator, given)
    if (kept := rows_to_keep(labels)) is not None:
        keep_label_rows(G_ema, torch.from_numpy(kept))
    if o.dry_run:
        needs = estimate(G, D, G_ema, batches, s, device)
        print("\n".join([record.text + parameter_counts(G=G, D=D), *needs.lines(s.total_nimg)]))
        return
    if initial is not None:
        initial = transfer.start({"G": G, "D": D, "G_ema": G_ema}, initial, str(o.init_from), s.freeze_d)
    notes = {"config": record.write()}
    last = train(
        G=G,
        D=D,
        G_ema=G_ema,
        batches=batches,
        run_dir=o.folder,
        settings=s,
        device=device,
        initial=initial,
        evaluate=evaluate,
        notes=notes,
    )
    print(f"done: {last}")


if __name__ == "__main__":
    run(main, TrainStyleGAN2, PRESETS, shares=True)
