"""Parsing of edits on the command line: names of directions and strengths."""

from collections.abc import Sequence

from stylegan2.runtime.errors import UserError


def parse_edits(words: Sequence[str]) -> dict[str, float]:
    """Parse edits of the form NAME=STRENGTH.

    Args:
        words: Words of the command line. Each contains one edit, or several that are separated by commas.

    Returns:
        {name: strength}, in the given order.

    Raises:
        UserError: A word has another form, or a direction is named twice.
    """
    found: dict[str, float] = {}
    for word in ",".join(words).split(","):
        name, equals, number = (part.strip() for part in word.partition("="))
        try:
            strength = float(number)
        except ValueError:
            strength = float("nan")
        if not name or not equals or not abs(strength) < float("inf"):
            raise UserError(
                f"directions must be given with strengths, such as smile=+2 or smile=+2,yaw=-1, not {word!r}"
            )
        if name in found:
            raise UserError(f"the direction {name!r} is given twice")
        found[name] = strength
    return found
