"""Held-out pairs for evaluation: they are never used for training, are not mirrored, and come in groups.

A task divides its images into groups that are evaluated separately, such as the angles of frontalization. Pairs from
files of the user form a single group.
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
    """An example that is never mirrored, so that the reported images look like the files they come from."""

    def maybe_mirrored(self, rng: np.random.Generator) -> Example:
        return self


class HeldOutPairs:
    """The pairs of a group, each of which depends only on the seed and its index.

    Args:
        group: The group of examples.
        target_size: Side T of the targets in pixels.
        seed: Seed of what is random in the task.
    """

    def __init__(self, group: Group, target_size: int, seed: int) -> None:
        self.group, self.target_size, self.seed = group, target_size, seed

    def __len__(self) -> int:
        return len(self.group.examples)

    @property
    def name(self) -> str:
        """Return the name of the group."""
        return self.group.name

    @property
    def key(self) -> list[object]:
        """Return the name and the settings of the task that makes the pairs, as JSON."""
        return [self.group.task.registered_name, self.group.task.config]

    def pair(self, index: int, source_size: int) -> tuple[Tensor, Tensor]:
        """Make a source [C, S, S] and its target [3, T, T]."""
        example, rng = self.group.examples[index], np.random.default_rng([self.seed, index])
        still = Unmirrored(example.target, example.source, example.name)
        source, target = self.group.task.make_pair(still, source_size, self.target_size, rng)
        return torch.as_tensor(source), torch.as_tensor(target)

    def batch(self, start: int, stop: int, source_size: int) -> tuple[Tensor, Tensor]:
        """Make the sources [N, C, S, S] and targets [N, 3, T, T] of the pairs `start` to `stop - 1`."""
        sources, targets = zip(*(self.pair(index, source_size) for index in range(start, stop)), strict=True)
        return torch.stack(sources), torch.stack(targets)

    def show_source(self, source: Tensor) -> Tensor:
        """Convert sources [N, C, S, S] to RGB images [N, 3, S, S] in [-1, 1] for display."""
        return self.group.task.show_source(source)


# --- tasks and groups ---


def shared_task(models: Mapping[str, tuple[PSp, Metadata]]) -> Task:
    """Return the task that all models were trained for.

    Args:
        models: {name: (model, metadata of its checkpoint)}.

    Raises:
        UserError: The models were trained for different tasks, or read different sources.
    """
    tasks = {name: task_of(metadata, model.encoder.input_channels) for name, (model, metadata) in models.items()}
    first = next(iter(tasks))
    for name, (model, _) in models.items():
        mine, theirs = tasks[name].registered_name, tasks[first].registered_name
        if mine != theirs:
            raise UserError(f"{first} was trained for {theirs} and {name} for {mine}: measure them separately")
        channels = tasks[first].source_channels
        if model.encoder.input_channels != channels:
            wrong = model.encoder.input_channels
            raise UserError(f"{name} reads {wrong} channels, but pairs of the task {theirs} have {channels}")
        size, first_size = (int(m.encoder.input_size) for m in (model, models[first][0]))
        if size != first_size and not tasks[first].inverts:
            raise UserError(
                f"{first} reads {first_size} px and {name} {size} px, so their sources would differ: "
                f"measure them separately"
            )
    return tasks[first]


def open_groups(task: Task, data: str, resolution: int, source_data: str | None = None) -> list[Group]:
    """Open the groups of a task on held-out procedural faces, or on all images of the user and their sources.

    Args:
        task: The task, which divides the images into groups.
        data: `synthetic` for procedural faces, or a folder, zip file or shards.
        resolution: Side of targets and sources in pixels.
        source_data: A folder or zip file with the sources of the images in `data`, if the task does not derive them.

    Raises:
        UserError: The task cannot be evaluated on these data.
    """
    if data == SYNTHETIC and (rendered := task.rendered_groups(resolution)) is not None:
        return rendered
    examples = open_examples(task, data, resolution, source_data, HELD_OUT_SEED)
    if (source := _reader(examples)) is not None:
        source.left_out.share = 1.0  # an evaluation continues, and lists unreadable files at its end
    return [Group("all", examples, task)] if source_data is not None else task.groups(examples)


# --- what was measured ---


def left_out(pairs: Sequence[Any]) -> list[str]:
    """Return one sentence for each file that could not be read so far and was replaced by another."""
    sources = {id(reader): reader for part in pairs if (reader := _reader(part.group.examples)) is not None}
    return [reason for source in sources.values() for reason in source.left_out.reasons]


def _reader(examples: Any) -> Any:
    """Return the object that reads the files of examples; None for procedural faces."""
    source = getattr(examples, "pixels", examples)
    return source if hasattr(source, "left_out") else None


def data_key(data: str, source_data: str | None, resolution: int) -> list[object]:
    """Return a JSON list that changes whenever the images change, from file digests or the renderer's version."""
    if data == SYNTHETIC:
        return [SYNTHETIC, RENDERER_VERSION, HELD_OUT_SEED, resolution]
    return [resolution, *(None if path is None else open_files(path).digest() for path in (data, source_data))]


def count_images(requested: int | None, pairs: Sequence[Any], data: str, default: int) -> int:
    """Return the number of images to evaluate on.

    Args:
        requested: The number that the user asked for; None for all images, but at most `default`.
        pairs: The groups of pairs, of which the smallest limits the number.
        data: Name of the data set, for messages.
        default: Largest number if the user did not ask for one.

    Raises:
        UserError: A group has fewer images than were asked for.
    """
    available = min(len(part) for part in pairs)
    if requested is not None and requested > available:
        raise UserError(
            f"num_images is {requested}, but {data} has only {available} images: give a smaller number, or leave it out"
        )
    return min(available, default) if requested is None else requested
