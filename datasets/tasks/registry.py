"""Tasks by name, for the command line; the decorator stands beside the class it names."""

from collections.abc import Callable

from stylegan2.runtime.errors import UserError

TASKS: dict[str, type] = {}


def register_task(name: str) -> Callable[[type], type]:
    def register(cls: type) -> type:
        if name in TASKS:
            raise ValueError(f"two tasks are called {name!r}")
        cls.registered_name = name
        TASKS[name] = cls
        return cls

    return register


def find_task(name: str) -> type:
    if name not in TASKS:
        raise UserError(f"there is no task called {name!r}; there are {', '.join(sorted(TASKS))}")
    return TASKS[name]
