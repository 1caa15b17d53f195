"""Losses by name, for the command line and the presets; the decorator stands beside the class it names."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeVar

from torch import Tensor, nn

from stylegan2.runtime.registry import Registry


class Loss(Protocol):
    """What WeightedLosses asks of a module: see `psp.losses`."""

    inputs: Collection[str]
    """names of the tensors that it takes, as keyword arguments"""
    name: str
    """what its numbers are reported as"""

    def __call__(self, **tensors: Tensor) -> Tensor:
        """Return one value per sample, [N]."""
        ...


Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

LOSSES: Registry[nn.Module] = Registry("loss", "psp.losses")


def register_loss(name: str, published: Mapping[str, str] | None = None) -> Callable[[Builder], Builder]:
    """Make a loss known under `name`, with a setting for its weight and one for each argument of its constructor.

    Args:
        name: What the loss is called: "hinge" has the settings `hinge_lambda` and `hinge_ARGUMENT`.
        published: {"lambda" or an argument: setting} where a setting has another name, under which it was published.
            Losses that name the same setting share it. Only the command line reads it.
    """

    return LOSSES.register(name)
