"""Generators by name, for checkpoints and the command line; the decorator stands beside the class it names."""

from collections.abc import Callable

from torch import nn

GENERATORS: dict[str, Callable[..., nn.Module]] = {}


def register_generator(name: str) -> Callable[[type[nn.Module]], type[nn.Module]]:
    def register(cls: type[nn.Module]) -> type[nn.Module]:
        cls.registered_name = name  # type: ignore[attr-defined]
        GENERATORS[name] = cls
        return cls

    return register
