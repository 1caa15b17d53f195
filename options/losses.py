"""Flags of the registered losses: the weight of each, and the arguments of its constructor."""

from dataclasses import make_dataclass
from typing import Annotated, Any

import tyro

from options.registered import Parameter, parameters, summary
from psp.losses import LOSSES
from psp.losses.registry import setting_name


def _weight(name: str) -> Parameter:
    return Parameter("lambda", float | None, None, f"weight of the loss {name}: {summary(LOSSES[name])}")


def loss_settings() -> type:
    """Return a dataclass with the settings of all registered losses; losses that share a setting have one field."""
    fields: dict[str, Parameter] = {}
    for name in LOSSES.names():
        for parameter in (_weight(name), *parameters(LOSSES[name])):
            fields.setdefault(setting_name(name, parameter.name), parameter)
    return make_dataclass(
        "LossSettings",
        [(name, Annotated[p.type, tyro.conf.arg(help=p.help)], p.default) for name, p in fields.items()],
        frozen=True,
        namespace={"__doc__": "Weights and settings of the losses; weights not given are the paper's for the task."},
    )


def loss_lambdas(settings: Any, defaults: dict[str, float]) -> dict[str, float]:
    """Return {loss: weight}: those that were given, over `defaults`."""
    given = {name: getattr(settings, setting_name(name, "lambda")) for name in LOSSES.names()}
    return {**defaults, **{name: weight for name, weight in given.items() if weight is not None}}


def loss_arguments(settings: Any) -> dict[str, dict[str, Any]]:
    """Return {loss: keyword arguments of its constructor}."""
    return {
        name: {argument.name: getattr(settings, setting_name(name, argument.name)) for argument in parameters(builder)}
        for name, builder in ((name, LOSSES[name]) for name in LOSSES.names())
    }
