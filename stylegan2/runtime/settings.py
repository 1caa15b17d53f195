"""Settings that files hold, held against the types and ranges that the constructors of networks and tasks declare.

pydantic does the checking. A constructor's signature says the types; its registry says once within which range a
setting of a name lies, whichever part it belongs to.
"""

import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from stylegan2.runtime.errors import UserError

Ranges = Mapping[str, tuple[float, float]]
WHOLE, REAL = (-(2**31), 2**31), (-1e6, 1e6)  # of numbers for which a registry says nothing
LONGEST_TEXT, LONGEST_LIST = 1000, 64


def validated(what: str, builder: Callable[..., Any], settings: Mapping[str, Any], ranges: Ranges) -> dict[str, Any]:
    """Return settings of the types that a class or function takes, and within their ranges.

    Args:
        what: Names the part in the sentence of an error, as in "the encoder light".
        builder: Its signature says the types.
        settings: As JSON holds them: a list stands for a tuple too.
        ranges: {setting: (smallest, largest)}, of numbers and of those in lists.

    Raises:
        UserError: A setting is unknown, missing, of another type, not finite or out of its range.
    """
    from pydantic import ConfigDict, ValidationError, create_model  # takes 0.2 s, for files only

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
            f"{what} cannot be built with {place} {str(first['input'])[:60]!r}: {first['msg'].lower()}; "
            f"its settings are {', '.join(fields)}"
        ) from error
    return found.model_dump(exclude_unset=True)


def _default(parameter: inspect.Parameter) -> Any:
    return ... if parameter.default is inspect.Parameter.empty else parameter.default


def _bounded(kind: Any, bounds: tuple[float, float] | None) -> Any:
    """The same type with bounds on its numbers, texts and lists."""
    from pydantic import Field

    origin: Any = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin is Annotated:  # with the range that the signature declares
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
