"""Registries of named parts, each defined in a file of its own: generators, encoders, losses, tasks.

A decorator beside the definition registers a part, and the registry finds it by importing the files of one package.
Registries serve the command line and checkpoints; Python code may call the classes directly.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.settings import Ranges, validated

Part = TypeVar("Part")
Builder = TypeVar("Builder", bound=Callable[..., object])
Config = dict[str, Any]
"""{"name": ..., **settings} of a part, or its settings alone"""


class Registry(Generic[Part]):
    """The parts of one kind by name.

    Args:
        kind: What a part is called in messages, such as "encoder".
        package: Dotted name of the package whose files register the parts.
        ranges: {setting: (smallest, largest)}, the allowed ranges of numbers that come from a file.
    """

    def __init__(self, kind: str, package: str, ranges: Ranges | None = None) -> None:
        self.kind, self.package, self.ranges = kind, package, ranges or {}
        self._builders: dict[str, Callable[..., Any]] = {}  # build a Part, which the type of a decorator cannot express
        self._imported = False

    def register(self, name: str) -> Callable[[Builder], Builder]:
        """Register a class, or a function that builds a part, under `name`. ValueError: the name is taken."""

        def decorator(builder: Builder) -> Builder:
            if name in self._builders:
                raise ValueError(f"the {self.kind} {name!r} is registered twice")
            self._builders[name] = builder
            return builder

        return decorator

    def names(self) -> list[str]:
        """Return the registered names in alphabetical order."""
        self._import_files()
        return sorted(self._builders)

    def __getitem__(self, name: str) -> Callable[..., Part]:
        """Return the class or function registered under `name`. UserError: the name is not registered."""
        self._import_files()
        if name not in self._builders:
            raise UserError(f"there is no {self.kind} called {str(name)[:100]!r}; there are {', '.join(self.names())}")
        return self._builders[name]

    def __contains__(self, name: object) -> bool:
        self._import_files()
        return name in self._builders

    def build(self, name: str, *args: object, **settings: object) -> Part:
        """Build the part registered under `name`, and record its name and complete settings in it (see `built_as`).

        Raises:
            UserError: There is no part of that name, or it has no such setting.
        """
        description = self.config(name, *args, **settings)
        part = self[name](*args, **settings)
        object.__setattr__(part, "built_as", description)  # also where a dataclass is frozen
        return part

    def config(self, name: str, *args: object, **settings: object) -> Config:
        """Return {"name": ..., **settings} of a part without building it; missing settings have their defaults.

        Raises:
            UserError: There is no part of that name, or it has no such setting.
        """
        signature = inspect.signature(self[name])
        try:
            bound = signature.bind(*args, **settings)
        except TypeError as error:
            raise UserError(
                f"the {self.kind} {name} cannot be built: {error}; its settings are {', '.join(signature.parameters)}"
            ) from None
        bound.apply_defaults()  # so that a checkpoint outlives a changed default
        return {"name": name, **bound.arguments}

    def checked(self, description: object) -> Config:
        """Validate {"name": ..., **settings} from a file for `build`, without building anything.

        Raises:
            UserError: The description is malformed, names no part, or has a setting that the part cannot have.
        """
        if not isinstance(description, Mapping) or not isinstance(description.get("name"), str):
            raise UserError(f"its metadata do not contain the name of its {self.kind}")
        name = description["name"]
        settings = {key: value for key, value in description.items() if key != "name"}
        return {"name": name, **validated(f"the {self.kind} {name}", self[name], settings, self.ranges)}

    def build_from(self, name: str, settings: Mapping[str, object]) -> Part:
        """Build the part registered under `name` from a larger set of settings, of which it takes its own."""
        return self.build(name, **{key: value for key, value in settings.items() if key in self.settings(name)})

    def settings(self, name: str) -> Mapping[str, inspect.Parameter]:
        """Return the parameters of a part's constructor. UserError: the name is not registered."""
        return inspect.signature(self[name]).parameters

    def _import_files(self) -> None:
        if not self._imported:
            self._imported = True
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")


def built_as(part: object) -> Config:
    """Return {"name": ..., **settings} of a part that a registry built. ValueError: no registry built it."""
    found = getattr(part, "built_as", None)
    if found is None:
        raise ValueError(f"{type(part).__name__} was not built by a registry, so its settings are not known")
    return dict(found)
