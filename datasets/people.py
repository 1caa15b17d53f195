"""Which photos are held out: a tenth of the people, so that nobody is measured on whom a network was trained.

Files are held out by person, not one by one: two photos of a person are in the same part. The rule knows nothing but
names, so that it is the same on every machine and stays the same when photos are added.
"""

import hashlib
from pathlib import PurePosixPath

from datasets.folder import ImageFiles
from datasets.shards import ShardFiles
from stylegan2.runtime.errors import UserError

PARTS = ("all", "train", "held_out")
EXPRESSIONS = ("_neutral", "_smiling")
"""How names of photos of one person may end, as in the Face Research Lab London Set."""
SHARE = 10
"""One person of so many is held out."""


def person_of(name: str, top: str = "") -> str:
    """Return who a file shows: its folder and its stem without an expression, such as `london/001`.

    Args:
        name: Path with "/", such as `faces/london/001_smiling.jpg`.
        top: What stands for the folder of a file that is in none.
    """
    path = PurePosixPath(name)
    stem = path.stem
    for expression in EXPRESSIONS:
        stem = stem.removesuffix(expression)
    return f"{path.parent.name or top}/{stem}"


def is_held_out(person: str) -> bool:
    """Return whether the SHA-1 of a person's name is a multiple of SHARE."""
    return int(hashlib.sha1(person.encode()).hexdigest(), 16) % SHARE == 0


def keep_part(files: ImageFiles | ShardFiles, part: str) -> None:
    """Keep of `files` those of one part: all, train, or held_out.

    Raises:
        UserError: There is no such part, or no file is in it.
    """
    if part not in PARTS:
        raise UserError(f"there is no part {part!r}: choose one of {', '.join(PARTS)}")
    if part == "all":
        return
    top = files.path.stem
    held_out = [is_held_out(person_of(files.relative(index), top)) for index in range(len(files))]
    kept = [index for index, held in enumerate(held_out) if held == (part == "held_out")]
    if not kept:
        raise UserError(f"{files.path} shows nobody of the part {part}: use `part` all")
    files.keep(kept)
