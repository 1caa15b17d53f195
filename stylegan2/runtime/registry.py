"""Registries of named parts, each defined in a file of its own: generators, encoders, losses, tasks.

A decorator beside the definition registers a part, and the registry finds it by importing the files of one package.
Registries serve the command line and checkpoints; Python code may call the classes directly. Settings from files are
validated by pydantic: the signature of a constructor gives the types, and its registry the range of each setting, which
holds for all parts that have a setting of that name.
"""

import functools
import importlib
import inspect
import json
import pkgutil
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

from stylegan2.runtime.errors import UserError

Ranges = Mapping[str, tuple[float, float]]
WHOLE, REAL = (-(2**31), 2**31), (-1e6, 1e6)  # ranges of numbers for which a registry gives none
LONGEST_TEXT, LONGEST_LIST = 1000, 64

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
            self._record_settings(name, builder)
            return builder

        return decorator

    def _record_settings(self, name: str, part_class: object) -> None:
        """Let a class record its name and settings also where Python code calls it directly (see `built_as`)."""
        if not isinstance(part_class, type) or part_class.__init__ is object.__init__:
            return
        construct = part_class.__init__

        @functools.wraps(construct)
        def recorded(part: object, *args: object, **settings: object) -> None:
            construct(part, *args, **settings)
            if type(part) is part_class:  # not a class that inherits this constructor
                object.__setattr__(part, "built_as", self.config(name, *args, **settings))

        part_class.__init__ = recorded

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
    config = getattr(part, "built_as", None)
    if config is None:
        raise ValueError(f"{type(part).__name__} was not built by a registry, so its settings are not known")
    return dict(config)


def validated(
    part: str, builder: Callable[..., object], settings: Mapping[str, object], ranges: Ranges
) -> dict[str, Any]:
    """Validate settings against the types that a class or function takes, and against their ranges.

    Args:
        part: The part's name for messages, such as "the encoder light".
        builder: The class or function; its signature gives the types.
        settings: The settings as JSON holds them, where a list may stand for a tuple.
        ranges: {setting: (smallest, largest)} of numbers and of numbers in lists.

    Returns:
        The settings that were given, with the types of the signature.

    Raises:
        UserError: A setting is unknown, missing, of another type, not finite or out of its range.
    """
    from pydantic import ConfigDict, ValidationError, create_model  # the import takes 0.2 s

    hints = typing.get_type_hints(builder.__init__ if inspect.isclass(builder) else builder, include_extras=True)
    fields: dict[str, Any] = {
        name: (_bounded(hints.get(name, Any), ranges.get(name)), _default(parameter))
        for name, parameter in inspect.signature(builder).parameters.items()
    }
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    model = create_model("Settings", __config__=config, **fields)
    try:
        validated_settings = model.model_validate_json(json.dumps(settings))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))[:100] or "its description"
        raise UserError(
            f"{part} cannot be built with {place} {str(first['input'])[:60]!r}: {first['msg'].lower()}; "
            f"its settings are {', '.join(fields)}"
        ) from error
    return validated_settings.model_dump(exclude_unset=True)


def _default(parameter: inspect.Parameter) -> object:
    return ... if parameter.default is inspect.Parameter.empty else parameter.default


def _bounded(kind: Any, bounds: tuple[float, float] | None) -> Any:
    """Return a type with bounds on its numbers, texts and lists."""
    from pydantic import Field

    origin: Any = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin is Annotated:  # keep the range that the signature declares
        return Annotated[(_bounded(arguments[0], bounds), *kind.__metadata__)]
    if kind in (int, float):
        low, high = bounds or (WHOLE if kind is int else REAL)
        return Annotated[kind, Field(ge=low, le=high)]
    if kind is str:
        return Annotated[str, Field(max_length=LONGEST_TEXT)]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_bounded(argument, bounds) for argument in arguments)]  # noqa: UP007 (built at run time)
    if any(origin is sequence for sequence in (tuple, list, Sequence)):
        items = tuple(argument if argument is ... else _bounded(argument, bounds) for argument in arguments)
        return Annotated[origin[items], Field(max_length=LONGEST_LIST)]
    return kind
