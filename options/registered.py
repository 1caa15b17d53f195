"""What the parts of a registry can be set to: name, type, default and documentation of each setting.

It is read from their files (see `options.source`), so that the command line does not wait for PyTorch. A file that
computes its defaults by running is imported.
"""

import ast
import dataclasses
import importlib
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import docstring_parser
import tyro

from options.source import Definition, Source, UnreadableError, modules_with, read_source


@dataclass(frozen=True)
class Parameter:
    """An argument of a class or of a function that builds a part."""

    name: str
    type: Any
    default: Any
    help: str
    """Its entry under `Args` of the docstring, in lower case as the help of all flags is; "" where there is none."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Of a field of a dataclass."""


@dataclass(frozen=True)
class Part:
    """A registered class or function, as far as a command line is concerned."""

    summary: str
    """The first line of its docstring, in lower case."""
    parameters: tuple[Parameter, ...]
    """Its arguments that have a default; the others are not settings."""
    registration: tuple[Any, ...] = ()
    """What the decorator was given after the name."""


def one_of(names: Iterable[str]) -> Any:
    """Return what `Annotated` adds to a flag whose help is to list what can be chosen."""
    return tyro.conf.arg(metavar="{" + ",".join(names) + "}")


@lru_cache
def read_parts(package: str, decorator: str) -> dict[str, Part]:
    """Return the parts that the files of a package register, by name in alphabetical order.

    Args:
        package: Dotted, such as "psp.losses".
        decorator: As it is written above a class or function, such as "register_loss" or "GENERATORS.register".
    """
    found: dict[str, Part] = {}
    for definition, call, source in _registrations(package, decorator):
        name, *registration = _arguments(call, source)
        found[name] = _part(definition, source, tuple(registration))
    return dict(sorted(found.items()))


def read_names(package: str, decorator: str) -> list[str]:
    """Return the names under which the files of a package register parts; none of the files is imported."""
    return sorted(_arguments(call, source)[0] for _, call, source in _registrations(package, decorator))


def _registrations(package: str, decorator: str) -> Iterator[tuple[Definition, ast.Call, Source]]:
    for module in modules_with(f"@{decorator}(", package):
        source = read_source(module)
        for definition in source.definitions.values():
            for call in definition.decorator_list:
                if isinstance(call, ast.Call) and ast.unparse(call.func) == decorator:
                    yield definition, call, source


def _arguments(call: ast.Call, source: Source) -> list[Any]:
    return [source.evaluate(value) for value in (*call.args, *(keyword.value for keyword in call.keywords))]


def _part(definition: Definition, source: Source, registration: tuple[Any, ...]) -> Part:
    try:
        return Part(_summary(definition), tuple(_parameters(definition, source)), registration)
    except UnreadableError:
        builder = getattr(importlib.import_module(source.name), definition.name)
        return Part(_summary(definition), tuple(parameters(builder)), registration)


def _summary(definition: Definition) -> str:
    docstring = docstring_parser.parse(ast.get_docstring(definition) or "")
    return phrase(docstring.short_description or "")


def _parameters(definition: Definition, source: Source) -> list[Parameter]:
    """Read the settings of a class or function."""
    if isinstance(definition, ast.FunctionDef):
        return _of_function(definition, definition, source)
    if any(ast.unparse(entry).startswith("dataclass") for entry in definition.decorator_list):
        return _of_fields(definition, source)
    constructors = [node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    if constructors:
        return _of_function(constructors[0], definition, source)
    for base in definition.bases:
        found = _base(base, source)
        if found is not None:
            return _parameters(*found)
    return []


def _base(base: ast.expr, source: Source) -> tuple[ast.ClassDef, Source] | None:
    """Return a base class and its file; None where it is not of this repository, as torch.nn.Module is not."""
    if not isinstance(base, ast.Name):
        return None
    if isinstance(found := source.definitions.get(base.id), ast.ClassDef):
        return found, source
    module, name = source.imports.get(base.id, ("", ""))
    if not name or module.partition(".")[0] == "torch":
        return None
    there = read_source(module)
    return _base(ast.Name(name), there)


def _of_function(function: ast.FunctionDef, documented: Definition, source: Source) -> list[Parameter]:
    """Read the arguments with a default of a function, documented in its or its class's docstring."""
    helps = _documented_arguments(documented)
    arguments, defaults = [*function.args.posonlyargs, *function.args.args], function.args.defaults
    pairs = list(zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True))
    keywords = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    pairs += [(argument, default) for argument, default in keywords if default is not None]
    return [
        Parameter(entry.arg, _type(entry.annotation, source), source.evaluate(default), helps.get(entry.arg, ""))
        for entry, default in pairs
    ]


def _of_fields(definition: ast.ClassDef, source: Source) -> list[Parameter]:
    """Read the fields of a dataclass, which the docstring below each documents too."""
    helps, found = _documented_arguments(definition), []
    for node, below in zip(definition.body, [*definition.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            continue
        kind = _type(node.annotation, source)
        if typing.get_origin(kind) is typing.ClassVar:
            continue
        default, metadata = source.evaluate(node.value), {}
        if isinstance(default, dataclasses.Field):
            default, metadata = default.default, dict(default.metadata)
        name = node.target.id
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            helps.setdefault(name, phrase(str(below.value.value)))
        found.append(Parameter(name, kind, default, helps.get(name, ""), metadata))
    return found


def _documented_arguments(definition: Definition) -> dict[str, str]:
    entries = docstring_parser.parse(ast.get_docstring(definition) or "").params
    return {entry.arg_name: phrase(entry.description or "") for entry in entries}


def _type(annotation: ast.expr | None, source: Source) -> Any:
    return str if annotation is None else source.evaluate(annotation)


def parameters(builder: Callable[..., Any]) -> list[Parameter]:
    """Return the settings of a class or function that is imported, as `read_parts` reads them from its file."""
    constructor = builder.__init__ if inspect.isclass(builder) else builder  # type: ignore[misc]
    hints = typing.get_type_hints(constructor, include_extras=True)
    entries = docstring_parser.parse_from_object(builder).params
    documented = {entry.arg_name: entry.description for entry in entries}
    fields: Sequence[dataclasses.Field] = dataclasses.fields(builder) if dataclasses.is_dataclass(builder) else ()
    metadata = {entry.name: dict(entry.metadata) for entry in fields}
    return [
        Parameter(
            name, hints.get(name, str), argument.default, phrase(documented.get(name) or ""), metadata.get(name, {})
        )
        for name, argument in inspect.signature(constructor).parameters.items()
        if argument.default is not inspect.Parameter.empty
    ]


def phrase(sentence: str) -> str:
    """Return a sentence as a help text: on one line, its first word in lower case (unless it is a name), no stop."""
    text = " ".join(sentence.split()).removesuffix(".")
    first = text.partition(" ")[0]
    return text if any(letter.isupper() for letter in first[1:]) else text[:1].lower() + text[1:]
