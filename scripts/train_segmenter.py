"""Train the segmenter for evaluating label-to-face: python scripts/train_segmenter.py --exp_dir runs/segmenter"""

import _start  # noqa: F401

# isort: split

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.faces.labels import LABELS
from datasets.loader import fixed_batches, stream_batches
from datasets.sources import SYNTHETIC, open_split
from datasets.tasks.segmentation import Segmentation
from datasets.training_data import TaskPairs
from options.commands.train_segmenter import TrainSegmenter
from options.parse import run
from options.results import record_for
from psp.inference.sources import palette
from psp.perception.segmenter import Segmenter, fit_segmenter, save_segmenter, segmentation_ious
from stylegan2.runtime import images
from stylegan2.runtime.device import place
from stylegan2.runtime.files import write_text
from stylegan2.runtime.progress import Progress
from stylegan2.runtime.randomness import seed_step

SHOWN = 12  # number of held-out faces on the sheet


def images_and_labels(
    batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Convert pairs of one-hot labels [N, label_nc, S, S] and images [N, 3, S, S] to images and label ids [N, S, S]."""
    for one_hot, pictures in batches:
        yield pictures.to(device), one_hot.argmax(1).to(device)  # [N, 3, S, S], [N, S, S]


def write_sheet(path: Path, pictures: Tensor, labels: Tensor, predicted: Tensor) -> None:
    """Write a sheet with rows of images [N, 3, S, S], their labels [N, S, S], and the predicted labels."""
    colours = palette(len(LABELS))
    rows = [list(images.to_uint8(pictures)), *(list(colours[ids.cpu().numpy()]) for ids in (labels, predicted))]
    images.write_image(path, images.labelled_sheet(rows, captions=("image", "labels", "found")))


def main(o: TrainSegmenter) -> None:
    device = o.prepare()
    record = record_for(o, "train_segmenter")
    seed_step(o.seed, 0, 0)
    segmenter = Segmenter(len(LABELS), o.resolution)
    record.write()
    place(segmenter, device)
    task, sizes = Segmentation(), (o.resolution, o.resolution)
    training, held_out = (TaskPairs(part, task, *sizes, o.seed) for part in open_split(task, SYNTHETIC, o.resolution))
    stream = stream_batches(training, len(training), o.batch_size, o.seed, o.workers)(0)
    with Progress(o.max_steps, "training", "step", expects=True) as bar:

        def show(loss: float) -> None:
            bar.show(loss=f"{loss:.3f}")
            bar.update()

        fit_segmenter(segmenter, images_and_labels(stream, device), o.max_steps, o.learning_rate, show)

    measured = list(images_and_labels(fixed_batches(held_out, o.batch_size, o.num_images), device))
    ious = segmentation_ious(segmenter, measured).tolist()
    by_label = {name: round(iou, 4) for name, iou in zip(LABELS, ious, strict=True) if np.isfinite(iou)}
    results = {"miou": round(float(np.nanmean(ious)), 4), "images": o.num_images, "iou": by_label}
    description = {"data": SYNTHETIC, "held_out": results, "steps": o.max_steps, "licence": "MIT"}
    save_segmenter(o.exp_dir / "segmenter.safetensors", segmenter, description, torch.float16)
    write_text(o.exp_dir / "metrics.json", json.dumps(results, indent=2) + "\n")
    pictures, labels = (torch.cat(part)[:SHOWN] for part in zip(*measured, strict=True))
    write_sheet(o.exp_dir / "segmentation.png", pictures, labels, segmenter.segment(pictures))
    print(json.dumps(results, indent=2))
    print(f"written to {o.exp_dir}: segmenter.safetensors, metrics.json, segmentation.png")


if __name__ == "__main__":
    run(main, TrainSegmenter)
