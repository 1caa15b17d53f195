"""Held-out pairs, and their measurement by several processes.

Each process takes batches, and the first one joins their values. The batches are those of one process, so that the
values are the same. Their records are kept in .parts beside the file of values until they are joined. The next run,
also one of a single process, measures the batches of lost processes.
"""

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from psp.evaluation.per_image import PerImageValues, slug
from psp.model import fit
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.journal import Journal, Record, Records, journals
from stylegan2.runtime.progress import Progress, track
from stylegan2.runtime.work_group import WorkGroup, lost_message

PICTURES = "pictures"


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
    """number of pairs to measure, from the first one on"""
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
        """Open the values of this set that are stored in `folder` under a name and a key."""
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


@dataclass(frozen=True)
class Job:
    """One method to measure on one set."""

    name: str
    held_out: HeldOutSet
    values: PerImageValues
    """values that are stored already"""
    source_size: int
    evaluate: Callable[[Tensor, Tensor], tuple[dict[str, Tensor], Tensor]]
    """maps (source, target) to {metric: [N] or [N, L]} and pictures [N, 3, H, W] in [-1, 1]"""
    shown: int = 0
    """number of first pairs whose pictures are kept"""

    @property
    def parts(self) -> Path:
        """Return the folder of the records that are not joined yet."""
        return self.values.path.with_suffix(".parts")

    @property
    def starts(self) -> range:
        """Return the start of each batch that remains to be measured."""
        return range(self.values.count, self.held_out.count, self.held_out.batch_size)

    def size(self, start: int) -> int:
        """Return the number of pairs in the batch that begins at `start`."""
        return min(self.held_out.batch_size, self.held_out.count - start)

    def records(self) -> Records:
        """Open the records that are not joined yet, by the number of their batch."""
        numbers = {start: number for number, start in enumerate(self.starts)}
        return Records(journals(self.parts), numbers, "start", self._is_record)

    def _is_record(self, record: Record) -> bool:
        arrays = record.get("arrays")
        return (
            record.get("start") in self.starts
            and record.get("size") == self.size(record["start"])
            and isinstance(arrays, dict)
            and all(_is_array(about) for about in arrays.values())
        )


def evaluate_jobs(jobs: Sequence[Job], group: WorkGroup) -> None:
    """Measure what no earlier run has measured, together with the other processes of a group.

    Raises:
        UserError: Values are missing because processes were lost. Only the first process, which joins them, raises it.
    """
    for job in jobs:
        _measure(job, group)
    lost = group.finish()
    if not group.is_first:
        return
    missing = sum(_join(job) for job in jobs)
    if missing:
        raise UserError(lost_message(lost, missing, "values of images"))


def waits(jobs: Sequence[Job]) -> bool:
    """Return whether an earlier run of several processes left records that are not joined yet."""
    return any(job.parts.is_dir() for job in jobs)


@torch.no_grad()
def _measure(job: Job, group: WorkGroup) -> None:
    """Measure the batches of a job that fall to this process."""
    label = f"{job.held_out.name} {job.values.path.name}"
    if group.is_first:
        with job.records() as known:
            own = [start for n, start in enumerate(job.starts) if not _is_whole(n, known)]
        group.share(f"todo {label}", np.array(own, np.int64).tobytes())
    todo = np.array(own, np.int64) if group.is_first else np.frombuffer(group.share(f"todo {label}"), np.int64)
    with Journal(job.parts) as journal:
        dealt = group.deal(label, len(todo))
        for place in track(dealt, job.name, "batch", total=len(todo) if group.is_alone else None):
            start = int(todo[place])
            source, target = job.held_out.batch(start, job.source_size)
            measured, output = job.evaluate(source, target)
            arrays = {f"value/{name}": value.cpu().numpy() for name, value in measured.items()}
            if start < job.shown:
                arrays[PICTURES] = images.to_uint8(output[: job.shown - start])
            about = {name: [array.dtype.str, *array.shape] for name, array in arrays.items()}
            record = {"start": start, "size": len(target), "arrays": about}
            journal.append(record, [np.ascontiguousarray(array).tobytes() for array in arrays.values()])


def _join(job: Job) -> int:
    """Move the records into the file of values, up to a missing batch, and return the number of missing images."""
    with job.records() as known, job.values as values:
        for number, start in enumerate(job.starts):
            record = known.get(number)
            if record is None:
                return job.held_out.count - start
            arrays = _arrays(record, known.blobs(number, record))
            pictures = arrays.pop(PICTURES, np.zeros((0, 0, 0, 3), np.uint8))
            values.add({name[6:]: torch.from_numpy(array.copy()) for name, array in arrays.items()}, pictures)
    shutil.rmtree(job.parts, ignore_errors=True)
    return 0


def _arrays(record: Record, blobs: Sequence[bytes]) -> dict[str, np.ndarray]:
    about = record["arrays"].items()
    return {
        name: np.frombuffer(blob, dtype).reshape(shape)
        for (name, (dtype, *shape)), blob in zip(about, blobs, strict=True)
    }


def _is_whole(number: int, known: Records) -> bool:
    record = known.get(number)
    if record is None or not known.has_blobs(number, record, len(record["arrays"])):
        return False
    sizes = [np.dtype(dtype).itemsize * math.prod(shape) for dtype, *shape in record["arrays"].values()]
    return record["blobs"][1:] == sizes


def _is_array(about: object) -> bool:
    """Return whether a value is the type and shape of an array of numbers."""
    if not isinstance(about, list) or not about or about[0] not in ("<f4", "<f8", "<i8", "<i4", "|u1", "|b1"):
        return False
    return len(about) <= 5 and all(isinstance(n, int) and n >= 0 for n in about[1:])
