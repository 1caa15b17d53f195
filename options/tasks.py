"""Flags of the registered tasks: the fields of their dataclasses. A task takes its own and refuses those of others."""

import typing
from dataclasses import Field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, Literal

import tyro

from options.registered import parameters
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import Registry

Purpose = Literal["training", "inference"]


def task_settings(tasks: Registry, purpose: Purpose) -> type:
    """Return a dataclass with the settings of all tasks that training or inference asks for; None is not given."""
    described: dict[str, list[str]] = {}
    owners: dict[str, tuple[Field, Any]] = {}
    for task, field in _task_fields(tasks, purpose):
        kind, help_text = _documented(tasks[task], field)
        if field.name in owners and owners[field.name][1] != kind:
            raise ValueError(f"the task {task} has a setting {field.name} of another type than an earlier task")
        owners.setdefault(field.name, (field, kind))
        described.setdefault(field.name, []).append(f"{task}: {help_text}")
    flags = [
        (name, Annotated[_typed(kind), _flag(field, described[name], owners.keys())], None)
        for name, (field, kind) in owners.items()
    ]
    return make_dataclass("TaskSettings", flags, frozen=True, namespace={"__doc__": "Settings of the tasks."})


def given_settings(tasks: Registry, settings: Any, purpose: Purpose) -> dict[str, Any]:
    """Return {setting: value} of those that were given. UserError: a list holds another kind of value."""
    kinds = {field.name: _documented(tasks[task], field)[0] for task, field in _task_fields(tasks, purpose)}
    given = {name: getattr(settings, name) for name in kinds if getattr(settings, name) is not None}
    return {name: _read(name, value, kinds[name]) for name, value in given.items()}


def _task_fields(tasks: Registry, purpose: Purpose) -> list[tuple[str, Field]]:
    """List (name of the task, field) of the settings that `purpose` asks for."""
    classes: list[tuple[str, Any]] = [(name, tasks[name]) for name in tasks.names()]
    found = [(name, field) for name, cls in classes if is_dataclass(cls) for field in fields(cls)]
    return [(name, field) for name, field in found if field.metadata.get("only") in (None, purpose)]


def _documented(task: Any, field: Field) -> tuple[Any, str]:
    """Return the type and the help of a setting."""
    parameter = next(entry for entry in parameters(task) if entry.name == field.name)
    return parameter.type, parameter.help


def _flag(field: Field, described: list[str], names: typing.Iterable[str]) -> Any:
    """Describe a flag for tyro, with the default of the task."""
    default, alias = field.default, field.metadata.get("alias")
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return tyro.conf.arg(
        help="; ".join(described),
        help_behavior_hint=f"(default: {shown})",
        aliases=[f"--{alias}"] if alias and alias not in names else None,
    )


def _typed(kind: Any) -> Any:
    """Return the type of a flag that may be left out; a list is read as text with commas."""
    return str | None if typing.get_origin(kind) is tuple else kind | None


def _read(name: str, value: Any, kind: Any) -> Any:
    """Turn 1,2,4 into (1, 2, 4) where the setting is a tuple."""
    if typing.get_origin(kind) is not tuple:
        return value
    entry = typing.get_args(kind)[0]
    try:
        return tuple(entry(part) for part in value.split(","))
    except ValueError:
        words = {int: "whole numbers", float: "numbers"}.get(entry, "words")
        raise UserError(f"--{name} are {words} with commas between them, not {value!r}") from None
