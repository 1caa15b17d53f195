"""Import the names of a package when they are first used (PEP 562), because importing PyTorch takes seconds."""

import importlib
import sys
from collections.abc import Mapping


def attribute_of(package: str, name: str, modules: Mapping[str, str]) -> object:
    """Import a name of a package from the module that defines it, and keep it in the package.

    Args:
        package: The package whose `__getattr__` was called, as `__name__` gives it.
        name: What was asked for.
        modules: {name: dotted module that defines it}.

    Raises:
        AttributeError: The package has no such name.
    """
    if name not in modules:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(modules[name]), name)
    setattr(sys.modules[package], name, value)
    return value
