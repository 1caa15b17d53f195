"""Read untrusted JSON, NumPy files and archives within bounds that are checked before memory is allocated.

A file of a few bytes may claim to hold petabytes, unpack to a thousand times its size, nest so deep that a parser
overflows, or contain numbers that take minutes to read. A file that exceeds all real ones is rejected with a message.
"""

import contextlib
import io
import json
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from math import prod
from typing import IO, Any

import numpy as np

from stylegan2.runtime.errors import UserError

MAX_TEXT = 64 * 2**20  # bytes of JSON: the labels of two million images; its objects take 25 times as much memory
MAX_DIGITS = 40  # digits of a number: a float64 has 17
LARGEST_INTEGER = 2**63
SMALL_ARCHIVE = 256 * 2**20  # bytes to which any archive may unpack
UNPACKED = 20  # times its own size to which a larger archive may unpack
MAX_MEMBERS = 100_000  # members of an archive of tensors or arrays
MAX_DIMENSIONS = 8
LONGEST_NAME = 1000  # characters
END, END_64 = b"PK\x05\x06", b"PK\x06\x06"  # signatures of the records that end the list of members of a zip file


@contextlib.contextmanager
def reading(path: str | os.PathLike, what: str, error_class: type[UserError] = UserError) -> Iterator[None]:
    """Turn any exception of a parser into a one-sentence error; a UserError of the block gets the name of the file.

    Args:
        path: The file that the block reads.
        what: What the file should be, such as "a file of codes".
        error_class: The class of the error to raise.
    """
    name = repr(os.fspath(path))
    try:
        yield
    except UserError as error:
        message = str(error)
        raise (error if os.fspath(path) in message else error_class(f"{name}: {message}")) from error
    except FileNotFoundError as error:
        raise error_class(f"there is no file {name}") from error
    except MemoryError as error:
        raise error_class(f"{name} is damaged or not {what}, or needs more memory than there is") from error
    except Exception as error:  # parsers, the disk and unpackers fail in dozens of ways on damaged files
        if stand_in := _stand_in(path):
            raise error_class(f"{name} is {stand_in}") from error
        raise error_class(f"{name} is damaged or not {what} ({summary(error)})") from error


def _stand_in(path: str | os.PathLike) -> str:
    """Return what a download that went wrong left in place of a file, with advice; "" if it is nothing known."""
    try:
        with open(path, "rb") as file:
            head = file.read(64).lstrip().lower()
    except OSError:
        return ""
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`"
    if head.startswith((b"<!doctype html", b"<html")):
        return "a web page, not the file itself: open it in a browser to see why, and download the file again"
    return ""


def summary(error: BaseException, longest: int = 200) -> str:
    """Summarise an exception in a few words on one line."""
    text = " ".join(str(error)[: 4 * longest].split())[:longest]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# ------------------------------------------------------------------------------------------------- JSON


def parse_json(text: str | bytes, largest: int = MAX_TEXT) -> Any:
    """Parse JSON whose size and numbers are within bounds; its depth is bounded by Python's own parser.

    Args:
        text: JSON, of which bytes may be in any UTF encoding.
        largest: The largest allowed number of bytes or characters.

    Raises:
        UserError: The text is not valid JSON, or exceeds a bound.
    """
    if len(text) > largest:
        raise UserError(f"its JSON is longer than the limit of {largest:,} bytes")
    try:
        # json detects the UTF encoding of bytes; a byte-order mark is not part of the text.
        decoded = text.decode(json.detect_encoding(text)) if isinstance(text, bytes) else text
        return json.loads(decoded.removeprefix("\ufeff"), parse_int=_integer, parse_float=_float)
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"its JSON is not valid ({summary(error, 100)})") from error


def read_json(path: str | os.PathLike, largest: int = MAX_TEXT) -> Any:
    """Parse a JSON file. UserError: as `parse_json`; OSError: the file cannot be read."""
    with open(path, "rb") as file:
        return parse_json(file.read(largest + 1), largest)


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS or abs(int(digits)) > LARGEST_INTEGER:
        raise UserError(f"its JSON contains an integer of {len(digits)} digits, which is larger than allowed")
    return int(digits)


def _float(digits: str) -> float:
    return float(digits) if len(digits) <= 1000 else math.nan


# --------------------------------------------------------------------------------------------- archives


def open_zip(path: str | os.PathLike | IO[bytes]) -> zipfile.ZipFile:
    """Open a zip file whose members are not too many and do not unpack to far more than the file holds.

    Raises:
        UserError: The file exceeds these bounds.
        zipfile.BadZipFile: The file is damaged.
    """
    size = check_members(path, MAX_MEMBERS)
    archive = zipfile.ZipFile(path)
    try:
        check_unpacked(sum(member.file_size for member in archive.infolist()), size)
    except UserError:
        archive.close()
        raise
    return archive


def check_members(path: str | os.PathLike | IO[bytes], most: int) -> int:
    """Return the size of a zip file, after counting its members without reading their list.

    Raises:
        UserError: It has more than `most` members.
    """
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(open(path, "rb")) if isinstance(path, str | os.PathLike) else path
        size = file.seek(0, io.SEEK_END)
        if (count := _members(file, size)) > most:
            raise UserError(f"it is a zip file of {count:,} members; at most {most:,} are allowed")
        file.seek(0)
    return size


def check_unpacked(unpacked: int, packed: int) -> None:
    """Raise a UserError if an archive of `packed` bytes unpacks to more than any real one does."""
    if unpacked > max(SMALL_ARCHIVE, UNPACKED * packed):
        raise UserError(f"it contains {packed:,} bytes that would unpack to {unpacked:,}")


def _members(file: IO[bytes], size: int) -> int:
    """Return how many members a zip file has by the record at its end."""
    start = max(0, size - (1 << 16) - 128)
    file.seek(start)
    tail = file.read(size - start)
    count = 0
    if (at := tail.rfind(END)) >= 0 and at + 12 <= len(tail):
        count = struct.unpack_from("<H", tail, at + 10)[0]
    if (at := tail.rfind(END_64)) >= 0 and at + 40 <= len(tail):
        count = max(count, struct.unpack_from("<Q", tail, at + 32)[0])
    return count


def read_member(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """Read one member of an archive without trusting its stated size. UserError: it has more than `largest` bytes."""
    with archive.open(name) as member:
        content = member.read(largest + 1)
    if len(content) > largest:
        raise UserError(f"its {name} is larger than the limit of {largest:,} bytes")
    return content


# --------------------------------------------------------------------------------------- arrays of NumPy


def read_arrays(path: str | os.PathLike, names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file whose names are in `names`, by default all, without executing anything.

    Raises:
        UserError: The file claims more than it holds, unpacks to far more than its size, or has arrays of objects.
        OSError, ValueError, zipfile.BadZipFile, ...: The file is damaged (wrap the call in `reading`).
    """
    with open_zip(path) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        arrays = {}
        for name in members if names is None else names:
            if name in members:
                with archive.open(members[name]) as file:
                    arrays[name] = read_array(file, members[name].file_size)
    return arrays


def read_array(file: IO[bytes], size: int) -> np.ndarray:
    """Read an array in NumPy's .npy format from a file of `size` bytes. UserError: it claims more or is not allowed."""
    version = np.lib.format.read_magic(file)
    reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if reader is None:
        raise UserError(f"it has an array of format {version}, which is not supported")
    try:
        shape, fortran, dtype = reader(file)
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise UserError("it has an array whose header is damaged") from error
    if dtype.hasobject or dtype.names is not None or dtype.itemsize == 0:
        raise UserError(f"it has an array of {dtype}, but only numbers and text are supported")
    claimed = prod(shape) * dtype.itemsize if all(side >= 0 for side in shape) else size + 1
    if claimed > size or len(shape) > MAX_DIMENSIONS:
        raise UserError(f"it has an array of shape {str(list(shape))[:100]}, for which the file is too small")
    content = file.read(claimed)
    if len(content) < claimed:
        raise UserError("it is truncated within an array")
    array = np.frombuffer(bytearray(content), dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
