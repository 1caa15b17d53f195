"""Write files and folders, report errors of the disk in one sentence, and locate the cache folder."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from stylegan2.runtime.errors import UserError

PARTIAL_PREFIX = ".partial-"  # prefix of the names of incomplete files
LOCK = ".lock"
_OF_ONE_FILE = {
    errno.ENAMETOOLONG, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EACCES, errno.EPERM,
    errno.EINVAL, errno.EILSEQ, errno.ELOOP, errno.EBUSY, errno.ETXTBSY, errno.EFBIG,
}  # fmt: skip
_HELD: dict[Path, FileLock] = {}  # of this process


@contextlib.contextmanager
def writing(path: str | os.PathLike, error_class: type[UserError] = UserError) -> Iterator[None]:
    """Turn an OSError of the block, which writes `path`, into an error of `error_class`."""
    try:
        yield
    except BrokenPipeError:  # belongs to the standard output, not to the file
        raise
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise error_class(f"cannot write {str(path)!r}: {reason}") from error


def is_of_one_file(error: UserError) -> bool:
    """Return whether an error concerns only one file, because its name is too long or a folder has the same name.

    If a disk is full, read-only or disconnected, no file can be written.
    """
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _OF_ONE_FILE


@contextlib.contextmanager
def collecting(failed: dict[str, str], name: str) -> Iterator[None]:
    """Record the reason in `failed` if the block cannot write the file of an item, so that other items are processed.

    Raises:
        UserError: No file can be written, or the block fails for another reason.
    """
    try:
        yield
    except UserError as error:
        if not is_of_one_file(error):
            raise
        failed[name] = str(error)


def refusal(error: BaseException) -> str | None:
    """Return a sentence for an error of the disk or of a path, or None for any other error."""
    if not isinstance(error, OSError) or error.errno is None:
        return None
    path = "" if error.filename is None else f"{error.filename!r}: "
    return f"{path}{error.strerror}"


def make_folder(path: str | Path) -> Path:
    """Create a folder and its parents if they do not exist. UserError: they cannot be created."""
    with writing(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8 atomically. UserError: the file cannot be written."""
    with writing(path), atomic_file(path, durable=False) as file:
        file.write(text.encode("utf-8"))


def hold_folder(folder: str | Path) -> None:
    """Lock a folder for this process until it ends; a second call for the same folder does nothing.

    Incomplete files that a killed process left in the folder itself are removed.

    Raises:
        UserError: Another process holds the lock, or the folder cannot be written.
    """
    folder = make_folder(folder).resolve()
    if folder in _HELD:
        return
    lock = FileLock(folder / LOCK, timeout=0)
    with writing(folder):
        try:
            lock.acquire()
        except Timeout:  # must come first, because it is also an OSError
            sentence = f"another process is writing to {str(folder)!r}: wait for it, or use another exp_dir"
            raise UserError(sentence) from None
        except NotImplementedError:  # the file system has no locks
            return
    _HELD[folder] = lock
    remove_partial_files(folder)


def remove_partial_files(folder: Path, subfolders: bool = False) -> None:
    """Remove incomplete files of killed processes from a folder. No other process may be writing to it.

    Args:
        folder: The folder.
        subfolders: Whether to search its subfolders too.
    """
    pattern = PARTIAL_PREFIX + "*"
    for path in folder.rglob(pattern) if subfolders else folder.glob(pattern):
        if path.is_file():
            path.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Return the cache folder, $XDG_CACHE_HOME/psp or ~/.cache/psp, which may be deleted between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "psp"


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a binary file for writing that replaces `path` only once it is complete.

    The parent folder is created. If the block raises, `path` is unchanged and no partial file is left behind.

    Args:
        path: The file to replace.
        durable: Whether to wait until the data are on the disk, so that a power failure cannot leave an empty file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(PARTIAL_PREFIX + uuid.uuid4().hex)
    try:
        with open(unfinished, "xb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a renaming durable, except on Windows and network file systems that cannot; the data is on disk already."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
