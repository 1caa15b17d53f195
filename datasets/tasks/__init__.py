"""Translation tasks, one file each: what the encoder sees, what it should render, and the paper's loss weights.

`task.py` says what a task may answer. A new file here is a new task: the command line and the tests find it.
"""

from importlib import import_module
from pkgutil import iter_modules

from datasets.tasks.registry import TASKS, build_task, find_task, register_task, task_of
from datasets.tasks.task import Task

# Every file of this folder registers its own task, so that a new task is one new file.
for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")

__all__ = ["TASKS", "Task", "build_task", "find_task", "register_task", "task_of"]
