"""Validate settings from files against the types and ranges that the constructors of networks and tasks declare.

pydantic validates them. The signature of a constructor gives the types; its registry gives the range of each setting,
which holds for all parts that have a setting of that name.
"""

import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from stylegan2.runtime.errors import UserError

Ranges = Mapping[str, tuple[float, float]]
WHOLE, REAL = (-(2**31), 2**31), (-1e6, 1e6)  # ranges of numbers for which a registry gives none
LONGEST_TEXT, LONGEST_LIST = 1000, 64


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
        found = model.model_validate_json(json.dumps(settings))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))[:100] or "its description"
        raise UserError(
            f"{part} cannot be built with {place} {str(first['input'])[:60]!r}: {first['msg'].lower()}; "
            f"its settings are {', '.join(fields)}"
        ) from error
    return found.model_dump(exclude_unset=True)


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
