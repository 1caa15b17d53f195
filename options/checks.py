"""What every command checks of its settings before it works: numbers in their ranges, and places to write to."""

import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import writing
from stylegan2.runtime.ranges import check_ranges
from stylegan2.runtime.remote import check_local

FOLDER, FILE = "exp_dir", "out"  # what commands call the place of their results
KINDS = (".safetensors", ".json", ".zip", ".pt")  # of files; all else that `out` names may become a folder


def check_settings(settings: Any) -> None:
    """Check the dataclass of a command and those in it. UserError: the sentence begins with the name of a field."""
    check_ranges(settings)
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            check_settings(value)
        elif isinstance(value, Path) and field.name in (FOLDER, FILE):
            check_place(field.name, value)


def check_place(name: str, path: Path) -> None:
    """Refuse a place where nothing can be written, before there is something to write.

    Args:
        name: What the setting is called: `exp_dir`, a folder, or `out`, a file where its suffix is one of KINDS.
        path: A folder or file that need not be there yet.

    Raises:
        UserError: It is on another machine, a file is in the way of a folder, a folder in that of a file, or the disk
            takes nothing.
    """
    check_local(name, path)
    with writing(path):
        if name == FILE and path.suffix.lower() in KINDS and path.is_dir():
            raise UserError(f"{name} must be a file, but {str(path)!r} is a folder: choose another name")
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
        if not there.is_dir() and not (name == FILE and there == path):
            raise UserError(f"{name} cannot be {str(path)!r}: {str(there)!r} is a file, not a folder")
        if not os.access(there, os.W_OK):
            raise UserError(f"{name} cannot be {str(path)!r}: {str(there)!r} cannot be written")
