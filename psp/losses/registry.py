"""Losses by name, for the command line and the presets; the decorator stands beside the class it names."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import nn

from stylegan2.runtime.registry import Registry

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
