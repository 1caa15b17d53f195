"""Writing a new folder or zip file that appears under its name only when it is complete."""

import os
import shutil
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file

Archive = Callable[[str, bytes], None]  # called with (name with "/", content) to add a file
FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date of zip files; a fixed one, so that equal files give equal zips


def check_out(out: Path) -> None:
    """Check that `out` does not exist yet or is an empty folder. UserError: it exists."""
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{str(out)!r} is a folder that holds files: remove it, or give another `out`")
    if out.exists() and not out.is_dir():
        raise UserError(f"{str(out)!r} exists: remove it, or give another `out`")


@contextmanager
def open_archive(out: Path) -> Iterator[Archive]:
    """Open a new zip file if `out` ends in .zip, else a new folder; if the block raises, nothing is left behind.

    Yields:
        A function that adds a file, given its name with "/" and its content.

    Raises:
        UserError: `out` exists and is not an empty folder.
    """
    check_out(out)
    with _zip(out) if out.suffix.lower() == ".zip" else _folder(out) as add:
        yield add


@contextmanager
def _zip(out: Path) -> Iterator[Archive]:
    with atomic_file(out) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed
            yield lambda name, content: archive.writestr(zipfile.ZipInfo(name, FIRST_DATE), content)
        check_out(out)  # another process may have written it meanwhile


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Make a new folder that appears as `out` once the block ends; if the block raises, nothing is left behind.

    Yields:
        The unfinished folder, to write to.
    """
    unfinished = out.with_name(f".partial-{uuid.uuid4().hex}")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        check_out(out)  # another process may have written it meanwhile
        if out.is_dir():
            out.rmdir()
        os.replace(unfinished, out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


@contextmanager
def _folder(out: Path) -> Iterator[Archive]:
    with new_folder(out) as unfinished:

        def add(name: str, content: bytes) -> None:
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

        yield add
