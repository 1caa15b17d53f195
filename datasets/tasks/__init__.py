"""Translation tasks, one file each: what the encoder sees, what it should render, and the paper's loss weights.

`task.py` says what a task may answer. A new file here is a new task: the command line and the tests find it.
"""

from datasets.setting import setting
from datasets.tasks.registry import TASKS, build_task, register_task, task_of
from datasets.tasks.task import Group, Task

__all__ = ["TASKS", "Group", "Task", "build_task", "register_task", "setting", "task_of"]
