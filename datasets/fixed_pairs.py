"""Pairs that a training shows and validates: the same ones each time, as tensors."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.pairs import TaskPairs
from datasets.read_ahead import read_here
from datasets.sampler import StreamSampler
from datasets.subsets import HELD_OUT_MAX
from stylegan2.runtime import images

SHEET_ROWS, SHEET_COLUMNS = 5, 4  # number of pairs per column and per row
SHEET_SIDE = 128  # smallest side of an image in the sheet, in pixels


def fixed_batches(pairs: TaskPairs, batch_size: int, count: int = HELD_OUT_MAX) -> list[tuple[Tensor, Tensor]]:
    """Return batches of the first `count` pairs in order, the same at every call."""
    count = min(count, len(pairs))
    starts = range(0, count, batch_size)
    return list(read_here(pairs, ([(i, i) for i in range(start, min(start + batch_size, count))] for start in starts)))


def write_sheet(pairs: TaskPairs, path: Path, sampler: Callable[..., StreamSampler] = StreamSampler) -> None:
    """Write an image of the first pairs of a training, with each source next to its target."""
    keys = islice(sampler(len(pairs), pairs.seed), SHEET_ROWS * SHEET_COLUMNS)
    pictures = []
    for source, target in (map(torch.as_tensor, pairs[key]) for key in keys):
        pictures += [_picture(pairs.task.show_source(source[None])), _picture(target[None])]
    rows = [pictures[start : start + 2 * SHEET_COLUMNS] for start in range(0, len(pictures), 2 * SHEET_COLUMNS)]
    images.write_image(path, images.labelled_sheet(rows, ("source", "target") * SHEET_COLUMNS))


def _picture(image: Tensor) -> np.ndarray:
    """Convert float [1, 3, S, S] in [-1, 1] to uint8 [P, P, 3]; small images are enlarged by repeating pixels."""
    pixels = images.to_uint8(image.cpu())[0]  # [S, S, 3]
    times = -(-SHEET_SIDE // len(pixels))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)  # [P, P, 3]
