"""Translation tasks, one file each: what the encoder sees, what it should render, and the paper's loss weights.

A task is a class with
    source_channels: channels of the source tensor,
    lambdas: {loss: weight} of the paper,
    make_pair(image uint8 [P, P, 3], source_size, target_size, rng) -> (source [C, S, S], target [3, T, T]), float32,
    show_source(source [N, C, S, S]) -> [N, 3, S, S] in [-1, 1], for people.
"""

from importlib import import_module
from pkgutil import iter_modules

from datasets.tasks.registry import TASKS, find_task, register_task

# Every file of this folder registers its own task, so that a new task is one new file.
for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")

__all__ = ["TASKS", "find_task", "register_task"]
