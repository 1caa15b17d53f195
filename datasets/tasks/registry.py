"""Tasks by name, for the command line and checkpoints; the decorator stands beside the class it names."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from datasets.tasks.task import Task
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import Registry

TaskClass = TypeVar("TaskClass", bound=type[Task])

TASKS: Registry[Task] = Registry("task", "datasets.tasks")


def register_task(name: str) -> Callable[[TaskClass], TaskClass]:
    """Make a task known under `name`; the fields of its dataclass are its settings.

    Raises:
        ValueError: The name is taken, or the task renders faces its own way without a name for that.
    """

    def decorator(cls: TaskClass) -> TaskClass:
        if cls.render is not Task.render and not cls.rendering:
            raise ValueError(f"{name!r} renders faces its own way, so `rendering` must name that way")
        cls.registered_name = name
        return TASKS.register(name)(cls)

    return decorator


def build_task(name: str, **settings: Any) -> Task:
    """Build the task of a name. UserError: the name is unknown, or a setting is not one of this task."""
    cls: Any = TASKS[name]
    known = {field.name for field in fields(cls)} if is_dataclass(cls) else set()
    unknown = sorted(settings.keys() - known)
    if unknown:
        owned = f"it has {', '.join(sorted(known))}" if known else "it has none"
        raise UserError(f"the task {name} has no setting {', '.join(unknown)}: {owned}")
    return TASKS.build(name, **settings)


def task_of(metadata: Metadata, source_channels: int, **settings: Any) -> Task:
    """Return the task that a checkpoint was trained for.

    Args:
        metadata: A checkpoint's: {"task": name, "task_settings": {setting: value}}.
        source_channels: The encoder's, which decides where the metadata say nothing: 4 is inpainting, more than that a
            segmentation.
        settings: The user's, over those in the checkpoint.
    """
    name, stored = metadata.get("task"), dict(metadata.get("task_settings") or {})
    if name is None:
        name = {1: "inversion", 3: "inversion", 4: "inpainting"}.get(source_channels, "segmentation")
    if name == "segmentation":
        stored.setdefault("label_nc", source_channels)
    return build_task(name, **{**stored, **settings})
