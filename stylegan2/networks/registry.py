"""Generators by name, for checkpoints and the command line; the decorator stands beside the class it names."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

GENERATORS: dict[str, Callable[..., nn.Module]] = {}
Class = TypeVar("Class", bound=type[nn.Module])


def register_generator(name: str) -> Callable[[Class], Class]:
    def register(cls: Class) -> Class:
        cls.registered_name = name  # type: ignore[attr-defined]
        GENERATORS[name] = cls
        return cls

    return register
