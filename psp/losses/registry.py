"""The registry of losses, for the command line and the presets."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeVar

from torch import Tensor, nn

from stylegan2.runtime.registry import Registry


class Loss(Protocol):
    """The protocol of losses (see `psp.losses`)."""

    inputs: Collection[str]
    """names of the tensors that the loss takes as keyword arguments"""
    name: str
    """name under which its numbers are reported"""

    def __call__(self, **tensors: Tensor) -> Tensor:
        """Return one value per sample, [N]."""
        ...


Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

LOSSES: Registry[nn.Module] = Registry("loss", "psp.losses")


def register_loss(name: str, published: Mapping[str, str] | None = None) -> Callable[[Builder], Builder]:
    """Register a loss under `name`, with a setting for its weight and one for each argument of its constructor.

    Args:
        name: Name of the loss: "hinge" has the settings `hinge_lambda` and `hinge_ARGUMENT`.
        published: {"lambda" or an argument: setting} for settings that were published under another name. Losses with
            the same setting share it. Only the command line uses this.
    """

    return LOSSES.register(name)
