"""Splitting photos by person: a tenth of the people are held out, so that models are not evaluated on training people.

All photos of a person are in the same part. The split depends only on file names, so that it is the same on every
machine and does not change when photos are added.
"""

import hashlib
from pathlib import PurePosixPath

from datasets.folder import ImageFiles
from datasets.shards import ShardFiles
from stylegan2.runtime.errors import UserError

PARTS = ("all", "train", "held_out")
EXPRESSIONS = ("_neutral", "_smiling")
"""Endings of file names that differ between photos of one person, as in the Face Research Lab London Set."""
SHARE = 10
"""One person of this many is held out."""


def person_of(name: str, top: str = "") -> str:
    """Return the name of the person in a photo: its folder and its stem without an expression, such as `london/001`.

    Args:
        name: Path of the photo with "/", such as `faces/london/001_smiling.jpg`.
        top: Name to use in place of the folder for a photo outside of folders.
    """
    path = PurePosixPath(name)
    stem = path.stem
    for expression in EXPRESSIONS:
        stem = stem.removesuffix(expression)
    return f"{path.parent.name or top}/{stem}"


def is_held_out(person: str) -> bool:
    """Return whether a person is held out, which is if the SHA-1 of the name is a multiple of SHARE."""
    return int(hashlib.sha1(person.encode()).hexdigest(), 16) % SHARE == 0


def keep_part(files: ImageFiles | ShardFiles, part: str) -> None:
    """Restrict files to one part of the split.

    Args:
        files: The files.
        part: "all", "train" or "held_out".

    Raises:
        UserError: There is no such part, or it contains no files.
    """
    if part not in PARTS:
        raise UserError(f"there is no part {part!r}: choose one of {', '.join(PARTS)}")
    if part == "all":
        return
    top = files.path.stem
    held_out = [is_held_out(person_of(files.relative(index), top)) for index in range(len(files))]
    kept = [index for index, held in enumerate(held_out) if held == (part == "held_out")]
    if not kept:
        raise UserError(f"{files.path} shows no person of the part {part}: use `part` all")
    files.keep(kept)
