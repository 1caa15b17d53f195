"""Edits on the command line: which directions to follow, and how far."""

from collections.abc import Sequence

from stylegan2.runtime.errors import UserError


def parse_edits(words: Sequence[str]) -> dict[str, float]:
    """Read NAME=STRENGTH, several of them with commas between or in several words.

    Returns:
        {name: strength}, in the order given.

    Raises:
        UserError: A word is of another form, or a direction is named twice.
    """
    found: dict[str, float] = {}
    for word in ",".join(words).split(","):
        name, equals, number = (part.strip() for part in word.partition("="))
        try:
            strength = float(number)
        except ValueError:
            strength = float("nan")
        if not name or not equals or not abs(strength) < float("inf"):
            raise UserError(f"a direction is followed so far: smile=+2, several as smile=+2,yaw=-1; not {word!r}")
        if name in found:
            raise UserError(f"the direction {name!r} is given twice")
        found[name] = strength
    return found
