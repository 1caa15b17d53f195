"""Held-out pairs of one kind, as encoders are measured on them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from psp.evaluation.per_image import PerImageValues, slug
from psp.model import fit
from stylegan2.runtime import images
from stylegan2.runtime.progress import Progress


class Pairs(Protocol):
    """Sources and targets by index, such as `datasets.held_out.HeldOutPairs`."""

    def batch(self, start: int, stop: int, source_size: int) -> tuple[Tensor, Tensor]:
        """Return sources [N, C, S, S] and targets [N, 3, T, T] of the pairs from `start` to `stop`."""
        ...

    def show_source(self, source: Tensor) -> Tensor:
        """Turn sources [N, C, S, S] into pictures for people, [N, 3, S, S] in [-1, 1]."""
        ...


@dataclass(frozen=True)
class HeldOutSet:
    """The held-out pairs of one kind, such as one angle or one kind of mask, as they are measured."""

    name: str
    pairs: Pairs
    count: int
    """pairs to measure, from the first one on"""
    key: dict[str, object]
    """JSON of all that the pairs depend on: files, seed, task"""
    batch_size: int = 16
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def batches(self, start: int, source_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield sources [N, C, S, S] and targets [N, 3, T, T] of the pairs from `start` on, on the device."""
        for first in range(start, self.count, self.batch_size):
            yield self.batch(first, source_size)

    def batch(self, start: int, source_size: int) -> tuple[Tensor, Tensor]:
        """Return sources and targets of one batch, from `start` on, on the device."""
        source, target = self.pairs.batch(start, min(start + self.batch_size, self.count), source_size)
        return source.to(self.device), target.to(self.device)

    def open_values(self, folder: Path, name: str, key: Mapping[str, object]) -> PerImageValues:
        """Open what is stored of this set in `folder` under a name and a key."""
        conditions = {"set": self.name, "data": self.key, "batch_size": self.batch_size, "device": self.device.type}
        return PerImageValues(folder / slug(self.name), name, {**key, **conditions})

    def progress(self, name: str, done: int, steps: int = 0) -> Progress:
        """Open a progress bar of the batches, or of the optimisation steps in each, with `done` images behind it."""
        batches, remaining = (-(-count // self.batch_size) for count in (self.count, max(0, self.count - done)))
        each = max(steps, 1)
        unit = "step" if steps else "batch"
        return Progress(batches * each, name, unit, initial=(batches - remaining) * each)

    def sources(self, count: int, source_size: int) -> list[np.ndarray]:
        """Return pictures of the first sources as large as their targets, uint8 [T, T, 3] each."""
        source, target = self.pairs.batch(0, count, source_size)
        return list(images.to_uint8(fit(self.pairs.show_source(source), target.shape[-1])))

    def targets(self, count: int, source_size: int) -> list[np.ndarray]:
        """Return pictures of the first targets, uint8 [T, T, 3] each."""
        return list(images.to_uint8(self.pairs.batch(0, count, source_size)[1]))
