"""Pairs to measure a model on: what no training sees, not mirrored, and in groups that are measured by themselves.

A task divides images into groups, such as frontalization's angles; the pairs of a user are one group.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.examples import Example
from datasets.folder import open_files
from datasets.sources import SYNTHETIC, open_examples
from datasets.synthetic import HELD_OUT_SEED, RENDERER_VERSION
from datasets.tasks import Group, Task, task_of
from psp.model import PSp
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import UserError


class Unmirrored(Example):
    """An example that is never mirrored: people compare pictures with their files."""

    def maybe_mirrored(self, rng: np.random.Generator) -> Example:
        return self


class HeldOutPairs:
    """The pairs of a group; each depends on the seed and its index alone."""

    def __init__(self, group: Group, target_size: int, seed: int) -> None:
        self.group, self.target_size, self.seed = group, target_size, seed

    def __len__(self) -> int:
        return len(self.group.examples)

    @property
    def name(self) -> str:
        """Return the group's name."""
        return self.group.name

    @property
    def key(self) -> list[Any]:
        """Return JSON of the task that makes the pairs."""
        return [self.group.task.registered_name, self.group.task.config]

    def pair(self, index: int, source_size: int) -> tuple[Tensor, Tensor]:
        """Make a source [C, S, S] and its target [3, T, T]."""
        example, rng = self.group.examples[index], np.random.default_rng([self.seed, index])
        still = Unmirrored(example.target, example.source, example.name)
        return self.group.task.make_pair(still, source_size, self.target_size, rng)

    def batch(self, start: int, stop: int, source_size: int) -> tuple[Tensor, Tensor]:
        """Make sources [N, C, S, S] and targets [N, 3, T, T] of the pairs from start to stop."""
        sources, targets = zip(*(self.pair(index, source_size) for index in range(start, stop)), strict=True)
        return torch.stack(sources), torch.stack(targets)

    def show_source(self, source: Tensor) -> Tensor:
        """Turn a batch of sources into pictures for people: [N, C, S, S] -> [N, 3, S, S] in [-1, 1]."""
        return self.group.task.show_source(source)


# --- tasks and groups ---


def shared_task(models: Mapping[str, tuple[PSp, Metadata]]) -> Task:
    """Return the task that all models were trained for. UserError: the models cannot be compared."""
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
        if size != first_size and not tasks[first].inverts:
            raise UserError(f"{first} reads {first_size} px and {name} {size} px, so that sources would differ")
    return tasks[first]


def open_groups(task: Task, data: str, resolution: int, source_data: str | None = None) -> list[Group]:
    """Open the groups of a task on held-out procedural faces, or on all of a folder or zip and its sources.

    Args:
        task: Divides the images into groups.
        data: `synthetic`, or a folder or zip.
        resolution: Side of targets and sources in pixels.
        source_data: A folder or zip of the sources that belong to `data`.

    Raises:
        UserError: The data are no truth for this task.
    """
    if data == SYNTHETIC and (rendered := task.rendered_groups(resolution)) is not None:
        return rendered
    examples = open_examples(task, data, resolution, source_data, HELD_OUT_SEED)
    if (source := _reader(examples)) is not None:
        source.left_out.share = 1.0  # a measurement goes on, and names them at its end
    return [Group("all", examples, task)] if source_data is not None else task.groups(examples)


# --- what was measured ---


def left_out(pairs: Sequence[Any]) -> list[str]:
    """Return why files that were read so far were left out and replaced by others, a sentence each."""
    sources = {id(found): found for part in pairs if (found := _reader(part.group.examples)) is not None}
    return [reason for source in sources.values() for reason in source.left_out.reasons]


def _reader(examples: Any) -> Any:
    """Return what reads the files of examples; None for procedural faces."""
    source = getattr(examples, "pixels", examples)
    return source if hasattr(source, "left_out") else None


def data_key(data: str, source_data: str | None, resolution: int) -> list[Any]:
    """Return JSON that changes whenever the images would: the content of the files, or the renderer's version."""
    if data == SYNTHETIC:
        return [SYNTHETIC, RENDERER_VERSION, HELD_OUT_SEED, resolution]
    return [resolution, *(None if path is None else open_files(path).digest() for path in (data, source_data))]


def count_images(asked: int | None, pairs: Sequence[HeldOutPairs], data: str, default: int) -> int:
    """Return how many images to measure on: all of them up to `default`, unless a number is asked for.

    Raises:
        UserError: There are not so many.
    """
    there = min(len(part) for part in pairs)
    if asked is not None and asked > there:
        raise UserError(f"num_images asks for {asked} images, but {data} holds {there}: ask for fewer, or leave it out")
    return min(there, default) if asked is None else asked
