"""Checks of the settings of every command before it starts: ranges of numbers, and places for the results."""

import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import writing
from stylegan2.runtime.ranges import check_ranges
from stylegan2.runtime.remote import check_local

FOLDER, FILE = "exp_dir", "out"  # names of the settings for the place of the results
KINDS = (".safetensors", ".json", ".zip", ".pt")  # suffixes with which `out` is a file; otherwise it may be a folder


def check_settings(settings: Any) -> None:
    """Check the settings of a command, including nested dataclasses.

    Raises:
        UserError: A setting is invalid. The message begins with the name of the field.
    """
    check_ranges(settings)
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            check_settings(value)
        elif isinstance(value, Path) and field.name in (FOLDER, FILE):
            check_place(field.name, value)


def check_place(name: str, path: Path) -> None:
    """Check that results can be written to a place, before any work is done.

    Args:
        name: Name of the setting: `exp_dir` for a folder, or `out` for a file if its suffix is one of KINDS.
        path: The folder or file, which need not exist yet.

    Raises:
        UserError: The place is on another machine, a file exists where a folder is needed or vice versa, or the place
            cannot be written.
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
