"""The registry of tasks, for the command line and checkpoints; a decorator on each class registers it."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, TypeVar

from datasets.tasks.task import Task
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.registry import Registry

if TYPE_CHECKING:
    from stylegan2.runtime.checkpoint import Metadata

TaskClass = TypeVar("TaskClass", bound=type[Task])

RANGES = {"label_nc": (1, 255), "resize_factors": (1, 256), "resize_factor": (1, 256)}
"""{setting: (smallest, largest)}, the allowed ranges of settings of tasks in checkpoints."""
TASKS: Registry[Task] = Registry("task", "datasets.tasks", RANGES)


def register_task(name: str) -> Callable[[TaskClass], TaskClass]:
    """Register a task class under `name`; the fields of its dataclass are its settings.

    Raises:
        ValueError: The name is taken, or the class overrides `render` without setting `rendering`.
    """

    def decorator(cls: TaskClass) -> TaskClass:
        if cls.render is not Task.render and not cls.rendering:
            raise ValueError(f"{name!r} renders its own faces, so `rendering` must be a name for them")
        cls.registered_name = name
        return TASKS.register(name)(cls)

    return decorator


def build_task(name: str, **settings: object) -> Task:
    """Build the task registered under `name`. UserError: there is no such task, or it has no such setting."""
    cls: object = TASKS[name]
    known = {field.name for field in fields(cls)} if is_dataclass(cls) else set()
    unknown = sorted(settings.keys() - known)
    if unknown:
        owned = f"it has {', '.join(sorted(known))}" if known else "it has none"
        raise UserError(f"the task {name} has no setting {', '.join(unknown)}: {owned}")
    return TASKS.build(name, **settings)


def task_of(metadata: "Metadata", source_channels: int, **settings: object) -> Task:
    """Build the task that a checkpoint was trained for.

    Args:
        metadata: Metadata of the checkpoint: {"task": name, "task_settings": {setting: value}, ...}.
        source_channels: Number of input channels of the encoder. If the metadata contain no task, 1 or 3 channels mean
            inversion, 4 inpainting, and any other number segmentation.
        settings: Settings of the user, which override those of the checkpoint.

    Raises:
        UserError: The metadata are malformed, or name an unknown task or a setting that the task cannot have.
    """
    name, stored = metadata.get("task"), metadata.get("task_settings") or {}
    if name is None:
        name = {1: "inversion", 3: "inversion", 4: "inpainting"}.get(source_channels, "segmentation")
    if not isinstance(name, str) or not isinstance(stored, dict):
        raise CheckpointError("the checkpoint's metadata do not contain its task")
    stored = _stored(name, stored)
    if name == "segmentation":
        stored.setdefault("label_nc", source_channels)
    return build_task(name, **{**stored, **settings})


def _stored(name: str, settings: dict[str, object]) -> dict[str, object]:
    """Validate the settings of a task from a checkpoint, without those that are never stored, such as paths."""
    cls: object = TASKS[name]
    own = (
        {field.name for field in fields(cls) if not field.metadata.get("stored", True)} if is_dataclass(cls) else set()
    )
    checked = TASKS.checked({"name": name, **{key: value for key, value in settings.items() if key not in own}})
    return {key: value for key, value in checked.items() if key != "name"}
