"""Pairs to measure a model on: what no training sees, not mirrored, and in groups that are measured by themselves.

The groups are frontalization's angles, super-resolution's factors and inpainting's kinds of mask; other tasks, and the
pairs of a user, are one group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.examples import Example
from datasets.folder import ImageFiles
from datasets.pack import DiskCache
from datasets.sources import SYNTHETIC, open_examples
from datasets.synthetic import HELD_OUT_SEED, RENDERER_VERSION, SyntheticFaces
from datasets.tasks import Task, task_of
from datasets.tasks.frontalization import Frontalization
from datasets.tasks.inpainting import Inpainting
from datasets.tasks.super_resolution import SuperResolution
from psp.model import PSp
from stylegan2.runtime.errors import UserError

YAWS = (0, 30, 45, 60)  # degrees, to either side
TURNED_LENGTH = 2048  # heads of each angle: their cache takes its whole place on the disk at once
QUARTER = 0.5  # side of a hole of a quarter of the image


@dataclass(frozen=True)
class Group:
    """Examples of one kind, and the task that makes pairs of them."""

    name: str
    examples: Sequence[Example]
    task: Task


class AsItIs(Example):
    """An example that is never mirrored: people compare pictures with their files."""

    def maybe_mirrored(self, rng: np.random.Generator) -> Example:
        return self


class HeldOutPairs:
    """The pairs of a group; each depends on the seed and its index alone."""

    def __init__(self, group: Group, target_size: int, seed: int) -> None:
        self.group, self.target_size, self.seed = group, target_size, seed

    def __len__(self) -> int:
        return len(self.group.examples)

    def pair(self, index: int, source_size: int) -> tuple[Tensor, Tensor]:
        """source [C, S, S] and target [3, T, T]."""
        example, rng = self.group.examples[index], np.random.default_rng([self.seed, index])
        still = AsItIs(example.target, example.source, example.name)
        return self.group.task.make_pair(still, source_size, self.target_size, rng)

    def batch(self, start: int, stop: int, source_size: int) -> tuple[Tensor, Tensor]:
        """source [N, C, S, S] and target [N, 3, T, T] of the pairs from start to stop."""
        sources, targets = zip(*(self.pair(index, source_size) for index in range(start, stop)), strict=True)
        return torch.stack(sources), torch.stack(targets)

    def show_source(self, source: Tensor) -> Tensor:
        """A batch of sources for people: [N, C, S, S] -> [N, 3, S, S] in [-1, 1]."""
        return self.group.task.show_source(source)


# --- tasks and groups ---


def shared_task(models: Mapping[str, tuple[PSp, Mapping[str, Any]]]) -> Task:
    """The task that all models were trained for. UserError: they cannot be compared."""
    tasks = {name: task_of(metadata, model.encoder.input_channels) for name, (model, metadata) in models.items()}
    first = next(iter(tasks))
    for name, (model, _) in models.items():
        mine, theirs = tasks[name].registered_name, tasks[first].registered_name
        if mine != theirs:
            raise UserError(f"{first} was trained for {theirs} and {name} for {mine}: measure them one by one")
        channels = tasks[first].source_channels
        if model.encoder.input_channels != channels:
            wrong = model.encoder.input_channels
            raise UserError(f"{name} reads {wrong} channels, and pairs of the task {theirs} have {channels}")
        size, first_size = (int(m.encoder.input_size) for m in (model, models[first][0]))
        if size != first_size and theirs != "inversion":
            raise UserError(f"{first} reads {first_size} px and {name} {size} px, so that sources would differ")
    return tasks[first]


def open_groups(task: Task, data: str, resolution: int, source_data: str | None = None) -> list[Group]:
    """The groups of a task on held-out procedural faces, or on all of a folder or zip and its sources.

    resolution: side of targets and sources in pixels. UserError: the data are no truth for this task.
    """
    if data == SYNTHETIC and isinstance(task, Frontalization):
        return [Group(f"yaw {yaw}", TurnedExamples(yaw, resolution), task) for yaw in YAWS]
    examples = open_examples(task, data, resolution, source_data, HELD_OUT_SEED)
    if source_data is not None:
        return [Group("all", examples, task)]
    if isinstance(task, Frontalization):
        raise UserError(
            "photos alone have no true frontal face to compare with: give the frontal ones with --data and the turned"
            " ones with --source_data, or measure on procedural faces (--data synthetic)"
        )
    if isinstance(task, SuperResolution):
        factors = sorted(set(task.resize_factors))
        return [Group(f"factor {factor}", examples, SuperResolution((factor,))) for factor in factors]
    if isinstance(task, Inpainting):
        kinds = [Group(kind, examples, Inpainting((kind,))) for kind in task.mask_kinds]
        return [*kinds, Group("quarter", Quarters(examples), task)]
    return [Group("all", examples, task)]


class TurnedExamples:
    """Every head turned by the same angle: to the right for even indices, to the left for odd ones; kept on disk."""

    def __init__(self, yaw: int, resolution: int) -> None:
        key = f"faces v{RENDERER_VERSION} {resolution} px seed {HELD_OUT_SEED} turned by {yaw} 1"
        self.cache = DiskCache(_TurnedPairs(yaw, resolution), (resolution, resolution, 6), key)

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, index: int) -> Example:
        target, source = np.split(self.cache[index], 2, axis=2)  # [R, R, 3] each
        return Example(np.ascontiguousarray(target), np.ascontiguousarray(source))


class _TurnedPairs:
    """`[index]` gives target and source in one array, uint8 [R, R, 6]."""

    def __init__(self, yaw: int, resolution: int) -> None:
        self.faces, self.yaw = SyntheticFaces(resolution, HELD_OUT_SEED), yaw

    def __len__(self) -> int:
        return TURNED_LENGTH

    def __getitem__(self, index: int) -> np.ndarray:
        example = Frontalization.turned(self.faces, index, float(-self.yaw if index % 2 else self.yaw))
        return np.concatenate([example.target, example.source], axis=2)  # [R, R, 6]


class Quarters:
    """Images with a mask each: a square hole of a quarter of the image, somewhere."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        target = self.examples[index].target
        size = len(target)
        side = round(QUARTER * size)
        top, left = np.random.default_rng([HELD_OUT_SEED, index]).integers(0, size - side + 1, 2)
        mask = np.zeros((size, size, 1), np.uint8)
        mask[top : top + side, left : left + side] = 255
        return Example(target, mask)


# --- what was measured ---


def data_key(data: str, source_data: str | None, resolution: int) -> list[Any]:
    """JSON that changes whenever the images would: names, sizes and times of the files, or the renderer's version."""
    if data == SYNTHETIC:
        return [SYNTHETIC, RENDERER_VERSION, HELD_OUT_SEED, resolution]
    return [resolution, *(None if path is None else ImageFiles(path).digest() for path in (data, source_data))]


def count_images(asked: int | None, pairs: Sequence[HeldOutPairs], data: str, default: int) -> int:
    """How many images to measure on: all of them up to `default`, unless a number was asked for."""
    there = min(len(part) for part in pairs)
    if asked is not None and asked > there:
        raise UserError(f"--num_images {asked} were asked for, but {data} holds {there}: give fewer, or leave it out")
    return min(there, default) if asked is None else asked
