"""Losses by name, for the command line and the presets."""

from collections.abc import Callable

from torch import nn

LOSSES: dict[str, Callable[..., nn.Module]] = {}


def register_loss(name: str) -> Callable:
    """Decorator: makes a class or a function that builds a loss known under `name`."""

    def register(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        if name in LOSSES:
            raise ValueError(f"two losses are called {name!r}")
        LOSSES[name] = build
        return build

    return register
