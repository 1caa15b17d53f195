"""Name, type, default and documentation of each setting of the parts of a registry.

They are read from the text of the files (see `options.source`), so that the command line need not import PyTorch. A
file is imported only if its defaults can be known in no other way.
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
    """An argument of a class, or of a function that builds a part."""

    name: str
    type: object
    default: object
    help: str
    """entry for the argument under `Args` of the docstring, in lower case as in all help texts; "" if there is none"""
    metadata: Mapping[str, object] = field(default_factory=dict)
    """metadata of the field, if the part is a dataclass"""


@dataclass(frozen=True)
class Part:
    """The properties of a registered class or function that a command line needs."""

    summary: str
    """first line of the docstring, in lower case"""
    parameters: tuple[Parameter, ...]
    """the arguments that have a default; the others are not settings"""
    registration: tuple[Mapping[str, str], ...] = ()
    """the arguments of the decorator after the name"""


def one_of(names: Iterable[str]) -> object:
    """Return metadata for `Annotated` with which the help text of a flag lists the choices."""
    return tyro.conf.arg(metavar="{" + ",".join(names) + "}")


@lru_cache
def read_parts(package: str, decorator: str) -> dict[str, Part]:
    """Read the parts that the files of a package register.

    Args:
        package: Dotted name of the package, such as "psp.losses".
        decorator: The decorator as it is written in the files, such as "register_loss" or "GENERATORS.register".

    Returns:
        {name: part} in alphabetical order.
    """
    parts: dict[str, Part] = {}
    for definition, call, source in _registrations(package, decorator):
        name, *registration = _arguments(call, source)
        parts[name] = _part(definition, source, tuple(registration))
    return dict(sorted(parts.items()))


def read_names(package: str, decorator: str) -> list[str]:
    """Read the names under which the files of a package register parts, without importing the files."""
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


def _part(definition: Definition, source: Source, registration: tuple[Mapping[str, str], ...]) -> Part:
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
        base_class = _base(base, source)
        if base_class is not None:
            return _parameters(*base_class)
    return []


def _base(base: ast.expr, source: Source) -> tuple[ast.ClassDef, Source] | None:
    """Return a base class and its file, or None if it is not in this repository, like torch.nn.Module."""
    if not isinstance(base, ast.Name):
        return None
    if isinstance(definition := source.definitions.get(base.id), ast.ClassDef):
        return definition, source
    module, name = source.imports.get(base.id, ("", ""))
    if not name or module.partition(".")[0] == "torch":
        return None
    return _base(ast.Name(name), read_source(module))


def _of_function(function: ast.FunctionDef, documented: Definition, source: Source) -> list[Parameter]:
    """Read the arguments with a default of a function, which the docstring of the function or its class documents."""
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
    """Read the fields of a dataclass, which `Args` of the class or a docstring below the field documents."""
    helps, settings = _documented_arguments(definition), []
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
        settings.append(Parameter(name, kind, default, helps.get(name, ""), metadata))
    return settings


def _documented_arguments(definition: Definition) -> dict[str, str]:
    entries = docstring_parser.parse(ast.get_docstring(definition) or "").params
    return {entry.arg_name: phrase(entry.description or "") for entry in entries}


def _type(annotation: ast.expr | None, source: Source) -> object:
    return str if annotation is None else source.evaluate(annotation)


def parameters(builder: Callable[..., object]) -> list[Parameter]:
    """Return the settings of an imported class or function, in the form in which `read_parts` reads them."""
    constructor = builder.__init__ if inspect.isclass(builder) else builder
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
    """Convert a sentence to a help text: on one line, without a full stop, and beginning in lower case.

    A first word with a further capital letter is a name, and stays as it is.
    """
    text = " ".join(sentence.split()).removesuffix(".")
    first = text.partition(" ")[0]
    return text if any(letter.isupper() for letter in first[1:]) else text[:1].lower() + text[1:]
