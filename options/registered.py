"""What the parts of a registry can be set to: name, type, default and documentation of each setting."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import docstring_parser


@dataclass(frozen=True)
class Parameter:
    """An argument of a class or of a function that builds a part."""

    name: str
    type: Any
    default: Any
    help: str
    """Its entry under `Args` of the docstring, in lower case as the help of all flags is; "" where there is none."""


def parameters(builder: Callable[..., Any]) -> list[Parameter]:
    """Return the keyword arguments that build a part; an argument without a default is not one."""
    constructor = builder.__init__ if inspect.isclass(builder) else builder  # type: ignore[misc]
    hints = typing.get_type_hints(constructor, include_extras=True)
    documented = {entry.arg_name: entry.description for entry in _docstring(builder).params}
    return [
        Parameter(name, hints.get(name, str), argument.default, phrase(documented.get(name) or ""))
        for name, argument in inspect.signature(builder).parameters.items()
        if argument.default is not inspect.Parameter.empty
    ]


def summary(builder: Callable[..., Any]) -> str:
    """Return the first line of the docstring of a class or function, in lower case."""
    return phrase(_docstring(builder).short_description or "")


def _docstring(builder: Callable[..., Any]) -> docstring_parser.Docstring:
    """Parse the docstring of a class or function; the docstring below a field of a dataclass counts as its entry."""
    return docstring_parser.parse_from_object(builder)


def phrase(sentence: str) -> str:
    """Return a sentence as a help text: on one line, its first word in lower case (unless it is a name), no stop."""
    text = " ".join(sentence.split()).removesuffix(".")
    first = text.partition(" ")[0]
    return text if any(letter.isupper() for letter in first[1:]) else text[:1].lower() + text[1:]
