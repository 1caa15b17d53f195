"""Ranges and choices of settings, which can be checked without PyTorch.

Ranges are annotated where numbers are declared: `batch_size: Annotated[int, Ge(1)] = 8`, or `Count`.
"""

import math
import typing
from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Annotated, Any, ClassVar, Protocol

from annotated_types import Ge, Gt, Interval, Le, Lt

from stylegan2.runtime.errors import UserError

Bound = Ge | Gt | Le | Lt
LARGEST = 2**63 - 1  # largest whole number in tensors and files

Count = Annotated[int, Ge(1)]
NotNegative = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0)]
Side = Annotated[int, Interval(ge=1, le=16384)]  # side of a picture in pixels
Size = Annotated[int, Interval(ge=1, le=2**20)]  # size of a layer: its channels, or groups of them
Layers = Annotated[int, Interval(ge=1, le=64)]
Workers = Annotated[int, Interval(ge=0, le=1024)]  # additional processes; 0 works in the calling one
Threads = Annotated[int, Interval(ge=1, le=1024)]
Positive = Annotated[float, Gt(0)]
Weight = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
PRECISIONS = ("auto", "fp32", "tf32", "bf16", "fp16")
REPORTERS = ("tensorboard", "wandb")
FASTEST = 50  # frames per second of an animation: viewers play faster GIFs slowly


class DataclassInstance(Protocol):
    """An object of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


def check_ranges(settings: DataclassInstance) -> None:
    """Check every number of a dataclass against the range in its annotation.

    Without an annotated range, whole numbers must be at most 2^63 - 1 and other numbers finite; infinity is allowed
    only where the annotation has an upper bound of infinity. The items of tuples and dictionaries are checked one by
    one, and None is skipped.

    Raises:
        UserError: A number is out of its range; the message begins with the name of the field.
    """
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):
        for value in _numbers(getattr(settings, field.name, None)):
            check_number(field.name, value, hints[field.name])


def check_number(name: str, value: float, hint: object) -> None:
    """Check a number against the range in the annotated type `hint`. UserError: it is outside."""
    declared = list(bounds(hint))
    if not math.isfinite(value) and not (value > 0 and Le(math.inf) in declared):
        raise UserError(f"{name} must be a finite number, not {value}")
    wrong = [bound for bound in declared if not _holds(bound, value)]
    if wrong:
        raise UserError(f"{name} {_sentence(wrong[0], declared, value)}")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise UserError(f"{name} must be at most 2^63 - 1 = {LARGEST}, not {value}")


def bounds(hint: object) -> Iterator[Bound]:
    """Yield the bounds in an annotation, including those nested in unions and tuples."""
    for part in typing.get_args(hint):
        if isinstance(part, Bound):
            yield part
        elif isinstance(part, Interval):
            yield from typing.cast(typing.Iterable[Bound], part)
        else:
            yield from bounds(part)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    for entry in value if isinstance(value, tuple | list) else [value]:
        if isinstance(entry, int | float) and not isinstance(entry, bool):
            yield entry


def _holds(bound: Bound, value: Any) -> bool:
    match bound:
        case Ge(ge=least):
            return value >= least
        case Gt(gt=below):
            return value > below
        case Le(le=most):
            return value <= most
        case Lt(lt=above):
            return value < above


def _sentence(wrong: Bound, declared: list[Bound], value: float) -> str:
    match declared:
        case [Ge(ge=least), Le(le=int() | float() as most)] if math.isfinite(most):
            return f"must be from {least} to {most}, not {value}"
        case [Gt(gt=below), Le(le=most)]:
            return f"must be above {below} and at most {most}, not {value}"
    match wrong:
        case Ge(ge=0):
            return f"must not be negative, but is {value}"
        case Gt(gt=0):
            return f"must be positive, not {value}"
        case Ge(ge=least):
            return f"must be at least {least}, not {value}"
        case Gt(gt=below):
            return f"must be above {below}, not {value}"
        case Le(le=most):
            return f"must be at most {most}, not {value}"
        case Lt(lt=above):
            return f"must be below {above}, not {value}"


def check_precision(precision: str) -> None:
    """Raise a UserError unless a precision is one of PRECISIONS."""
    if precision not in PRECISIONS:
        raise UserError(f"there is no precision {precision!r}: choose one of {', '.join(PRECISIONS)}")


def parse_reporters(text: str) -> list[str]:
    """Split a comma-separated list of reporters; "none" gives an empty list. UserError: a reporter is unknown."""
    names = [] if text == "none" else [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in REPORTERS]:
        raise UserError(f"report_to must be {', '.join(REPORTERS)} or none, not {unknown[0]!r}")
    return names
