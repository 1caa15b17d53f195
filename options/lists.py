"""Parsing of lists on the command line: seeds such as 0-63, numbers such as -3,0,3, edits such as smile=+2,yaw=-1."""

import math
import re
from collections.abc import Sequence

from stylegan2.runtime.errors import UserError

MAX_SEEDS = 100_000


def parse_seeds(text: str, flag: str = "--seeds") -> list[int]:
    """Parse numbers and ranges, which include both ends, separated by commas.

    Args:
        text: The text, such as 0-63 or 1,5,9-12.
        flag: Name of the flag for error messages.

    Returns:
        The seeds, in the given order.

    Raises:
        UserError: The text has another form, or contains more than 100,000 seeds.
    """
    seeds: list[int] = []
    for word in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", word, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise UserError(
                f"{flag} must be whole numbers of at most 18 digits or ranges such as 0-63 or 1,5,9-12, not {text!r}"
            )
        if last - first >= MAX_SEEDS - len(seeds):
            raise UserError(f"{flag} contains more than {MAX_SEEDS} seeds: {text!r}")
        seeds += range(first, last + 1)
    return seeds


def parse_numbers(text: str, flag: str) -> list[float]:
    """Parse finite numbers, separated by commas.

    Raises:
        UserError: The text has another form. The message names `flag`.
    """
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)):
        raise UserError(f"{flag} must be numbers separated by commas, such as -3,0,3, not {text!r}")
    return numbers


def parse_edits(words: Sequence[str]) -> dict[str, float]:
    """Parse edits of the form NAME=STRENGTH.

    Args:
        words: Words of the command line. Each contains one edit, or several that are separated by commas.

    Returns:
        {name: strength}, in the given order.

    Raises:
        UserError: A word has another form, or a direction is named twice.
    """
    edits: dict[str, float] = {}
    for word in ",".join(words).split(","):
        name, equals, number = (part.strip() for part in word.partition("="))
        try:
            strength = float(number)
        except ValueError:
            strength = float("nan")
        if not name or not equals or not abs(strength) < float("inf"):
            raise UserError(
                f"direction must be given with a strength, such as smile=+2 or smile=+2,yaw=-1, not {word!r}"
            )
        if name in edits:
            raise UserError(f"the direction {name!r} is given twice")
        edits[name] = strength
    return edits
