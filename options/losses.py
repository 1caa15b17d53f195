"""Flags for the registered losses: the weight of each loss and the arguments of its constructor."""

from collections.abc import Iterator
from dataclasses import make_dataclass
from typing import Annotated

import tyro

from options.registered import Parameter, Part, read_parts

LOSSES = "psp.losses"


def loss_settings(package: str = LOSSES) -> type:
    """Build a dataclass with the settings of all losses of a package. A setting that losses share is one field."""
    fields: dict[str, Parameter] = {}
    for name, loss in _losses(package):
        weight = Parameter("lambda", float | None, None, f"weight of the loss {name}: {loss.summary}")
        for parameter in (weight, *loss.parameters):
            fields.setdefault(_setting(name, loss, parameter.name), parameter)
    return make_dataclass(
        "LossSettings",
        [(name, Annotated[p.type, tyro.conf.arg(help=p.help)], p.default) for name, p in fields.items()],
        frozen=True,
        namespace={
            "__doc__": "Weights and settings of the losses; a weight that is not given is the paper's for the task."
        },
    )


def loss_lambdas(settings: object, defaults: dict[str, float], package: str = LOSSES) -> dict[str, float]:
    """Return {loss: weight}: the default weights, replaced by those that the user gave."""
    given = {name: getattr(settings, _setting(name, loss, "lambda")) for name, loss in _losses(package)}
    return {**defaults, **{name: weight for name, weight in given.items() if weight is not None}}


def loss_arguments(settings: object, package: str = LOSSES) -> dict[str, dict[str, object]]:
    """Return {loss: keyword arguments of its constructor}."""
    return {
        name: {entry.name: getattr(settings, _setting(name, loss, entry.name)) for entry in loss.parameters}
        for name, loss in _losses(package)
    }


def _losses(package: str) -> Iterator[tuple[str, Part]]:
    yield from read_parts(package, "register_loss").items()


def _setting(name: str, loss: Part, argument: str) -> str:
    """Return the name of the flag for an argument of a loss: "lambda", or an argument of its constructor."""
    published = next(iter(loss.registration), None) or {}
    return published.get(argument, f"{name}_{argument}")
