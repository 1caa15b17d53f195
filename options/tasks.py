"""Flags for the fields of the registered tasks. A task accepts its own flags and refuses those of other tasks."""

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
    """Build a dataclass with the settings of all tasks for training or for inference.

    The default of all fields is None, which means that the user did not give the setting.

    Raises:
        ValueError: Two tasks have settings of the same name with different types.
    """
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


def given_settings(settings: object, purpose: Purpose, package: str = TASKS) -> dict[str, object]:
    """Return {setting: value} of the settings that the user gave.

    Raises:
        UserError: A list contains a value of the wrong type.
    """
    kinds = {setting.name: setting.type for _, setting in _settings(purpose, package)}
    given = {name: getattr(settings, name) for name in kinds if getattr(settings, name) is not None}
    return {name: _read(name, value, kinds[name]) for name, value in given.items()}


def _settings(purpose: Purpose, package: str) -> Iterator[tuple[str, Parameter]]:
    """Yield (name of the task, setting) for all settings that exist in training or in inference."""
    for name, task in read_parts(package, "register_task").items():
        for setting in task.parameters:
            if setting.metadata.get("only") in (None, purpose):
                yield name, setting


def _flag(setting: Parameter, helps: list[str], names: Iterable[str]) -> object:
    """Describe a flag for tyro, with the default of the task."""
    default, alias = setting.default, setting.metadata.get("alias")
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return tyro.conf.arg(
        help="; ".join(helps),
        help_behavior_hint=f"(default: {shown})",
        aliases=[f"--{alias}"] if isinstance(alias, str) and alias not in names else None,
    )


def _typed(kind: Any) -> object:
    """Return the type of an optional flag. The flag of a tuple is a text with commas."""
    return str | None if typing.get_origin(kind) is tuple else kind | None


def _read(name: str, value: Any, kind: Any) -> object:
    """Convert a text such as 1,2,4 to (1, 2, 4) if the setting is a tuple."""
    if typing.get_origin(kind) is not tuple:
        return value
    entry = typing.get_args(kind)[0]
    try:
        return tuple(entry(part) for part in value.split(","))
    except ValueError:
        words = {int: "whole numbers", float: "numbers"}.get(entry, "words")
        raise UserError(f"--{name} must be {words} separated by commas, not {value!r}") from None
