"""Translation tasks, one per file: the source, the target and the loss weights of the paper for each task.

`task.py` defines the interface of a task. The command line and the tests find every task in this package.
"""

from datasets.setting import setting
from datasets.tasks.registry import TASKS, build_task, register_task, task_of
from datasets.tasks.task import Group, Task

__all__ = ["TASKS", "Group", "Task", "build_task", "register_task", "setting", "task_of"]
