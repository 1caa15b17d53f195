"""Declaration of the settings of tasks, in a module without dependencies, because command lines import it first."""

from dataclasses import field
from typing import Any


def setting(default: Any, only: str | None = None, stored: bool = True, alias: str | None = None) -> Any:
    """Declare a setting of a task that is limited to training or inference, not stored, or has an alias.

    Args:
        default: Default value of the setting.
        only: "training" or "inference" for a setting of that command only; None for a setting of both.
        stored: Whether checkpoints store the setting; settings of inference only are never stored.
        alias: Another name of the flag.
    """
    return field(default=default, metadata={"only": only, "stored": stored and only != "inference", "alias": alias})
