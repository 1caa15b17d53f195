"""Generators and discriminators by name, for checkpoints and the command line; the decorator is beside the class."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

GENERATORS: dict[str, Callable[..., nn.Module]] = {}
DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {}
Class = TypeVar("Class", bound=type[nn.Module])
Builder = TypeVar("Builder", bound=Callable[..., nn.Module])


def register_generator(name: str) -> Callable[[Class], Class]:
    def register(cls: Class) -> Class:
        cls.registered_name = name  # type: ignore[attr-defined]
        GENERATORS[name] = cls
        return cls

    return register


def register_discriminator(name: str) -> Callable[[Builder], Builder]:
    """For a class, or a function that builds the discriminator which belongs to the generator of that name."""

    def register(builder: Builder) -> Builder:
        DISCRIMINATORS[name] = builder
        return builder

    return register


def construct(builder: Callable[..., nn.Module], settings: Mapping[str, Any]) -> nn.Module:
    """A network from those of the settings that it takes: not every one has a mapping network, for example."""
    taken = inspect.signature(builder).parameters
    return builder(**{name: value for name, value in settings.items() if name in taken})
