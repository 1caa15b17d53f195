"""Cached arrays about a data set, stored next to it or, if that folder is not writable, in the user's cache folder.

Cache files are validated, not trusted: they contain only numbers and text, are read within bounds, and are used only
if their checksum and the fingerprint of the data are correct.
"""

import contextlib
import hashlib
import json
import math
import os
import stat
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from stylegan2.runtime.bounded import parse_json
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, cache_folder

MAGIC = b"psp arrays 1\n"
MAX_BYTES = 2**30
MAX_HEADER = 2**20
DTYPES = ("|u1", "<i8", "<f4")
MAX_DIMENSIONS = 2
LONGEST_TEXT = 10_000
Name = TypeVar("Name")


class CachedArrays(NamedTuple):
    """The cached arrays and values about a data set."""

    fingerprint: str
    """a text that changes whenever the data change"""
    about: dict[str, Any]
    """JSON values"""
    arrays: dict[str, np.ndarray]
    """arrays of type uint8, int64 or float32, with one or two dimensions"""


def cache_paths(data: Path, kind: str) -> list[Path]:
    """Return the possible paths of a cache file: a hidden file next to the data set, and one in the user's cache."""
    data = Path(os.path.abspath(data))
    name = f"{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}.{kind}"
    beside = [data.with_name(f".{data.name}.{kind}")] if data.name else []
    return [*beside, cache_folder() / name]


def save_cached(data: Path, kind: str, cached: CachedArrays) -> None:
    """Write a cache file next to a data set, or else to the user's cache folder.

    If neither can be written, nothing happens, since the arrays can be computed again.

    Args:
        data: Path of the data set.
        kind: Kind of the arrays, which is part of the file name.
        cached: The arrays and values.
    """
    header = {
        "fingerprint": cached.fingerprint,
        "about": cached.about,
        "arrays": [[name, array.dtype.str, array.shape] for name, array in cached.arrays.items()],
        "checksum": _checksum(cached.arrays.values()),
    }
    line = json.dumps(header).encode() + b"\n"
    if len(line) > MAX_HEADER or sum(array.nbytes for array in cached.arrays.values()) > MAX_BYTES - MAX_HEADER:
        return
    for path in cache_paths(data, kind):
        with contextlib.suppress(OSError), atomic_file(path, durable=False) as file:
            file.write(MAGIC + line)
            for array in cached.arrays.values():
                file.write(np.ascontiguousarray(array).data)
            return


def read_cached(data: Path, kind: str) -> list[CachedArrays]:
    """Read the cache files about a data set from all possible paths; missing and damaged files are left out."""
    entries = []
    for path in cache_paths(data, kind):
        with contextlib.suppress(OSError, UserError, ValueError, TypeError, KeyError, MemoryError):
            entries.append(_read(path))
    return entries


def _read(path: Path) -> CachedArrays:
    """Read one cache file. UserError and others: the file is damaged or too large."""
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_BYTES:  # opening a pipe could block for ever
        raise UserError("it is not a file of arrays")
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise UserError("it is not a file of arrays")
        line = file.readline(MAX_HEADER + 1)
        header = parse_json(line, MAX_HEADER)
        fingerprint, about = header["fingerprint"], header["about"]
        shapes = [(name, dtype, tuple(shape)) for name, dtype, shape in header["arrays"]]
        if not isinstance(fingerprint, str) or not isinstance(about, dict) or not all(map(_is_plain, shapes)):
            raise UserError("its header is damaged")
        sizes = [np.dtype(dtype).itemsize * math.prod(shape) for _, dtype, shape in shapes]
        if sum(sizes) != state.st_size - len(MAGIC) - len(line):
            raise UserError("it is truncated")
        arrays = {name: np.empty(shape, dtype) for name, dtype, shape in shapes}
        for array in arrays.values():
            if array.size and file.readinto(array.data.cast("B")) != array.nbytes:
                raise UserError("it is truncated")
    if _checksum(arrays.values()) != header["checksum"]:
        raise UserError("it is damaged")
    return CachedArrays(fingerprint, about, arrays)


def _is_plain(entry: tuple[object, object, tuple]) -> bool:
    name, dtype, shape = entry
    sides = all(type(side) is int and 0 <= side < MAX_BYTES for side in shape)
    return isinstance(name, str) and dtype in DTYPES and 1 <= len(shape) <= MAX_DIMENSIONS and sides


def _checksum(arrays: Iterable[np.ndarray]) -> int:
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return checksum


def as_text(cached: Mapping[Name, object], name: Name) -> str:
    """Return a text of the header that is safe to print. UserError: it is not a text, too long or not printable."""
    text = cached[name]
    if not isinstance(text, str) or len(text) > LONGEST_TEXT or not text.isprintable():
        raise UserError(f"its {name} is not a text")
    return text
