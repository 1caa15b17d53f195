"""Named parts of one kind, each in a file of its own: generators, encoders, losses, tasks.

A part is registered by a decorator beside its definition, and found by importing the files of one package. Registries
serve the command line and checkpoints; whoever writes Python may call the classes directly.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from stylegan2.runtime.errors import UserError

Part = TypeVar("Part")
Builder = TypeVar("Builder", bound=Callable[..., Any])


class Registry(Generic[Part]):
    """The parts of one kind by name.

    Args:
        kind: What a part is called in messages, such as "encoder".
        package: Dotted name of the package whose files register the parts.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self._builders: dict[str, Callable[..., Part]] = {}
        self._imported = False

    def register(self, name: str) -> Callable[[Builder], Builder]:
        """Make a class, or a function that builds a part, known under `name`. ValueError: the name is taken."""

        def decorator(builder: Builder) -> Builder:
            if name in self._builders:
                raise ValueError(f"two {self.kind}s are called {name!r}")
            self._builders[name] = builder
            return builder

        return decorator

    def names(self) -> list[str]:
        """Return the known names in alphabetical order."""
        self._import_files()
        return sorted(self._builders)

    def __getitem__(self, name: str) -> Callable[..., Part]:
        """Return the class or function registered under `name`. UserError: there is none."""
        self._import_files()
        if name not in self._builders:
            raise UserError(f"there is no {self.kind} called {name!r}; there are {', '.join(self.names())}")
        return self._builders[name]

    def __contains__(self, name: object) -> bool:
        self._import_files()
        return name in self._builders

    def build(self, name: str, *args: Any, **settings: Any) -> Part:
        """Build the part registered under `name`; it remembers its name and its complete settings.

        Raises:
            UserError: There is no part of that name, or it has no such setting.
        """
        builder = self[name]
        signature = inspect.signature(builder)
        try:
            bound = signature.bind(*args, **settings)
        except TypeError as error:
            raise UserError(
                f"the {self.kind} {name}: {error}; its settings are {', '.join(signature.parameters)}"
            ) from None
        part = builder(*bound.args, **bound.kwargs)
        bound.apply_defaults()  # so that a checkpoint outlives a changed default
        object.__setattr__(part, "built_as", {"name": name, **bound.arguments})  # also where a dataclass is frozen
        return part

    def _import_files(self) -> None:
        if not self._imported:
            self._imported = True
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")


def built_as(part: Any) -> dict[str, Any]:
    """Return {"name": ..., **settings} of a part that a registry built. ValueError: none did."""
    found = getattr(part, "built_as", None)
    if found is None:
        raise ValueError(f"{type(part).__name__} was not built by a registry, so a checkpoint could not name it")
    return dict(found)
