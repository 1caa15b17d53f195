"""Translate photos: python scripts/inference.py --data_path FOLDER --exp_dir OUT [--checkpoint_path MODEL]"""

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

import torch
from torch import Tensor
from tqdm import tqdm

from datasets.photos import Photo, build_reader, list_photos, read_photos
from datasets.report import Pending, Report, own_outputs
from options.inference import Inference
from options.parse import parse, run
from psp import PSp, load
from psp.translate import translate
from stylegan2.runtime.device import pick_device, tune_process
from stylegan2.runtime.images import to_uint8
from stylegan2.runtime.randomness import seed_step


def translate_photos(
    model: PSp, photos: Iterable[Photo], report: Report, batch_size: int, device: torch.device, noise_mode: str
) -> None:
    """Photos -> encoder -> generator -> report, a batch at a time."""
    waiting: deque[Pending] = deque()  # what is on its way through the networks

    def sources() -> Iterator[Tensor]:
        for photo in photos:
            for pending in report.add(photo):
                waiting.append(pending)
                yield pending.portrait.source

    for batch in translate(model, sources(), batch_size, device, noise_mode):
        pictures = to_uint8(batch.images)  # [N, R, R, C]
        for picture, code in zip(pictures, batch.codes, strict=True):
            report.write(waiting.popleft(), picture, code, batch.seconds / len(pictures))


def main() -> int:
    options = parse(Inference)
    device = pick_device(options.device)
    tune_process()
    seed_step(options.seed, 0, 0)
    files = list_photos(options.data_path, own_outputs(options.exp_dir))
    model, _ = load(options.checkpoint_path)
    encoder, generator = cast(Any, model.encoder), cast(Any, model.generator)
    encoder_input = encoder.input_channels, encoder.input_size
    every_face = options.faces == "all"
    reader = build_reader(encoder_input, generator.img_resolution, options.align, options.detector, every_face)
    root = options.data_path if options.data_path.is_dir() else options.data_path.parent
    code_shape = tuple(model.latent_avg.shape)
    started = time.perf_counter()
    with Report(options.exp_dir, files, root, options.couple_outputs, code_shape) as report:
        photos = tqdm(read_photos(files, reader, options.workers), total=len(files), unit="photo")
        translate_photos(model, photos, report, options.test_batch_size, device, options.noise_mode)
    return report.summarize(time.perf_counter() - started)


if __name__ == "__main__":
    run(main)
