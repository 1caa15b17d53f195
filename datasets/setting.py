"""How a task declares a setting; it needs nothing else, since command lines are read before the tasks are imported."""

from dataclasses import field
from typing import Any


def setting(default: Any, only: str | None = None, stored: bool = True, alias: str | None = None) -> Any:
    """Declare a setting of a task that is not simply one of training and inference alike.

    Args:
        default: Its value where none is given.
        only: "training" or "inference", where the other does not ask for it.
        stored: Whether checkpoints keep it; settings of inference alone are never kept.
        alias: Another name of its flag.
    """
    return field(default=default, metadata={"only": only, "stored": stored and only != "inference", "alias": alias})
