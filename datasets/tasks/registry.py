"""Tasks by name, for the command line; the decorator stands beside the class it names."""

from collections.abc import Callable

TASKS: dict[str, type] = {}


def register_task(name: str) -> Callable[[type], type]:
    def register(cls: type) -> type:
        cls.registered_name = name
        TASKS[name] = cls
        return cls

    return register
