"""Files and folders to write, where whatever the disk refuses becomes one sentence; and the folder of caches."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from stylegan2.runtime.errors import UserError


@contextlib.contextmanager
def writing(path: str | os.PathLike, error_class: type[UserError] = UserError) -> Iterator[None]:
    """Turn an OSError of the block, which writes `path`, into a UserError or a given kind of it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise error_class(f"cannot write {str(path)!r}: {reason}") from error


def make_folder(path: str | Path) -> Path:
    """Create a folder and those above it, where they are not there yet. UserError: the disk refuses."""
    with writing(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as UTF-8. UserError: the disk refuses."""
    with writing(path):
        Path(path).write_text(text, encoding="utf-8")


def cache_folder() -> Path:
    """Return $XDG_CACHE_HOME/psp, by default ~/.cache/psp. It may be deleted at any time between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "psp"
