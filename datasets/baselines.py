"""Baselines: outputs computed without a model, which the model of a task has to outperform."""

from collections.abc import Callable

from torch import Tensor

from psp.evaluation.methods import Method
from psp.model import fit

Fill = Callable[[Tensor, Tensor], Tensor]
"""source [N, C, S, S], target [N, 3, T, T] -> output [N, 3, T, T]"""


def baseline(name: str, source_size: int, fill: Fill, **settings: object) -> Method:
    """Build the evaluation method of a baseline.

    Args:
        name: Name of the baseline in the table of results.
        source_size: Side of the sources in pixels.
        fill: Computes the outputs from sources and targets.
        settings: JSON values on which the outputs depend, besides the images.
    """
    key = {"baseline": name, **settings}
    return Method(name, key, source_size, lambda source, target, on_step: fill(source, target))


def resized_source(source: Tensor, target: Tensor) -> Tensor:
    """Resize the source [N, 3, S, S] to the size of the target [N, 3, T, T]."""
    return fit(source, target.shape[-1])  # [N, 3, T, T]
