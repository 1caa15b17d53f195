"""Flags of the registered tasks: the fields of their dataclasses. A task takes its own and refuses those of others."""

import typing
from collections.abc import Iterable, Iterator
from dataclasses import make_dataclass
from typing import Annotated, Any, Literal

import tyro

from options.registered import Parameter, read_parts
from stylegan2.runtime.errors import UserError

TASKS = "datasets.tasks"
Purpose = Literal["training", "inference"]


def task_settings(purpose: Purpose, package: str = TASKS) -> type:
    """Return a dataclass with the settings of all tasks that training or inference asks for; None is not given."""
    helps: dict[str, list[str]] = {}
    owners: dict[str, Parameter] = {}
    for task, setting in _settings(purpose, package):
        if owners.setdefault(setting.name, setting).type != setting.type:
            raise ValueError(f"the task {task} has a setting {setting.name} of another type than an earlier task")
        helps.setdefault(setting.name, []).append(f"{task}: {setting.help}")
    flags = [
        (name, Annotated[_typed(setting.type), _flag(setting, helps[name], owners)], None)
        for name, setting in owners.items()
    ]
    return make_dataclass("TaskSettings", flags, frozen=True, namespace={"__doc__": "Settings of the tasks."})


def given_settings(settings: Any, purpose: Purpose, package: str = TASKS) -> dict[str, Any]:
    """Return {setting: value} of those that were given. UserError: a list holds another kind of value."""
    kinds = {setting.name: setting.type for _, setting in _settings(purpose, package)}
    given = {name: getattr(settings, name) for name in kinds if getattr(settings, name) is not None}
    return {name: _read(name, value, kinds[name]) for name, value in given.items()}


def _settings(purpose: Purpose, package: str) -> Iterator[tuple[str, Parameter]]:
    """Yield (name of the task, setting) of the settings that `purpose` asks for."""
    for name, task in read_parts(package, "register_task").items():
        for setting in task.parameters:
            if setting.metadata.get("only") in (None, purpose):
                yield name, setting


def _flag(setting: Parameter, helps: list[str], names: Iterable[str]) -> Any:
    """Describe a flag for tyro, with the default of the task."""
    default, alias = setting.default, setting.metadata.get("alias")
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return tyro.conf.arg(
        help="; ".join(helps),
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
