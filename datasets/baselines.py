"""Rows of a table that no model made: what a task's model has to beat."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from psp.evaluation.methods import Method
from psp.model import fit

Fill = Callable[[Tensor, Tensor], Tensor]
"""source [N, C, S, S], target [N, 3, T, T] -> output [N, 3, T, T]"""


def baseline(name: str, source_size: int, fill: Fill, **settings: Any) -> Method:
    """Return a row for the table of a task.

    Args:
        name: What the row is called.
        source_size: Side of the sources in pixels.
        fill: Makes the outputs.
        settings: What the outputs depend on beside the images, as JSON.
    """
    key = {"baseline": name, **settings}
    return Method(name, key, source_size, lambda source, target, on_step: fill(source, target))


def resized_source(source: Tensor, target: Tensor) -> Tensor:
    """Return the source [N, 3, S, S] itself at the size of the target: [N, 3, T, T]."""
    return fit(source, target.shape[-1])  # [N, 3, T, T]
