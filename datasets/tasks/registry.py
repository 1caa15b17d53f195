"""Tasks by name, for the command line and checkpoints; the decorator stands beside the class it names."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from datasets.tasks.task import Task
from stylegan2.runtime.errors import UserError

TaskClass = TypeVar("TaskClass", bound=type[Task])
TASKS: dict[str, type[Task]] = {}


def register_task(name: str) -> Callable[[TaskClass], TaskClass]:
    def register(cls: TaskClass) -> TaskClass:
        if name in TASKS:
            raise ValueError(f"two tasks are called {name!r}")
        if cls.render is not Task.render and not cls.rendering:
            raise ValueError(f"{name!r} renders faces its own way, so `rendering` must name that way")
        cls.registered_name = name
        TASKS[name] = cls
        return cls

    return register


def find_task(name: str) -> type[Task]:
    if name not in TASKS:
        raise UserError(f"there is no task called {name!r}; there are {', '.join(sorted(TASKS))}")
    return TASKS[name]


def build_task(name: str, **settings: Any) -> Task:
    """The task of a name with its settings. UserError: an unknown name, or a setting that this task does not have."""
    cls = find_task(name)
    known = {field.name for field in fields(cls)} if is_dataclass(cls) else set()
    unknown = sorted(settings.keys() - known)
    if unknown:
        owned = f"it has {', '.join(sorted(known))}" if known else "it has none"
        raise UserError(f"the task {name} has no setting {', '.join(unknown)}: {owned}")
    return cls(**settings)


def task_of(metadata: Mapping[str, Any], source_channels: int, **settings: Any) -> Task:
    """The task that a checkpoint was trained for.

    Args:
        metadata: a checkpoint's.
        source_channels: the encoder's, which decides where the metadata say nothing: 4 is inpainting, more than that a
            segmentation.
        settings: the user's, over those in the checkpoint.
    """
    name, stored = metadata.get("task"), dict(metadata.get("task_settings") or {})
    if name is None:
        name = {1: "inversion", 3: "inversion", 4: "inpainting"}.get(source_channels, "segmentation")
    if name == "segmentation":
        stored.setdefault("label_nc", source_channels)
    return build_task(name, **{**stored, **settings})
