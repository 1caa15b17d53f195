"""Arrays about a data set that are kept beside it, or in the user's cache where that place refuses.

A file of them is an answer to be checked, not to be trusted: it holds numbers and text alone, is read within bounds,
and counts only where its checksum and the fingerprint of the data are right.
"""

import contextlib
import hashlib
import json
import math
import os
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stylegan2.runtime.bounded import parse_json
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, cache_folder

MAGIC = b"psp arrays 1\n"
MOST_BYTES = 2**30
MOST_HEADER = 2**20
DTYPES = ("|u1", "<i8", "<f4")
MOST_DIMENSIONS = 2


class Kept(NamedTuple):
    """What is kept about a data set."""

    fingerprint: str
    """names the state of the data"""
    about: dict[str, Any]
    """JSON"""
    arrays: dict[str, np.ndarray]
    """uint8, int64 or float32, of one or two dimensions"""


def places(data: Path, kind: str) -> list[Path]:
    """Return where arrays about a data set may be: beside it, in a hidden file, and in the user's cache."""
    data = Path(os.path.abspath(data))
    name = f"{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}.{kind}"
    beside = [data.with_name(f".{data.name}.{kind}")] if data.name else []
    return [*beside, cache_folder() / name]


def keep(data: Path, kind: str, kept: Kept) -> None:
    """Write arrays beside a data set, else into the user's cache, else nowhere: they can be made again."""
    header = {
        "fingerprint": kept.fingerprint,
        "about": kept.about,
        "arrays": [[name, array.dtype.str, array.shape] for name, array in kept.arrays.items()],
        "checksum": _checksum(kept.arrays.values()),
    }
    line = json.dumps(header).encode() + b"\n"
    if len(line) > MOST_HEADER or sum(array.nbytes for array in kept.arrays.values()) > MOST_BYTES - MOST_HEADER:
        return
    for path in places(data, kind):
        with contextlib.suppress(OSError), atomic_file(path, durable=False) as file:
            file.write(MAGIC + line)
            for array in kept.arrays.values():
                file.write(np.ascontiguousarray(array).data)
            return


def read_kept(data: Path, kind: str) -> list[Kept]:
    """Read what is kept about a data set in each of the places; what is damaged is left out."""
    found = []
    for path in places(data, kind):
        with contextlib.suppress(OSError, UserError, ValueError, TypeError, KeyError, MemoryError):
            found.append(_read(path))
    return found


def _read(path: Path) -> Kept:
    """Read one file. UserError and others: it is damaged, or beyond the bounds."""
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode) or state.st_size > MOST_BYTES:  # opening a pipe could wait for ever
        raise UserError("it is no file of arrays")
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise UserError("it is no file of arrays")
        line = file.readline(MOST_HEADER + 1)
        header = parse_json(line, MOST_HEADER)
        fingerprint, about = header["fingerprint"], header["about"]
        shapes = [(name, dtype, tuple(shape)) for name, dtype, shape in header["arrays"]]
        if not isinstance(fingerprint, str) or not isinstance(about, dict) or not all(map(_is_plain, shapes)):
            raise UserError("its header is damaged")
        sizes = [np.dtype(dtype).itemsize * math.prod(shape) for _, dtype, shape in shapes]
        if sum(sizes) != state.st_size - len(MAGIC) - len(line):
            raise UserError("it is cut short")
        arrays = {name: np.empty(shape, dtype) for name, dtype, shape in shapes}
        for array in arrays.values():
            if array.size and file.readinto(array.data.cast("B")) != array.nbytes:
                raise UserError("it is cut short")
    if _checksum(arrays.values()) != header["checksum"]:
        raise UserError("it is damaged")
    return Kept(fingerprint, about, arrays)


def _is_plain(entry: tuple[Any, Any, tuple]) -> bool:
    name, dtype, shape = entry
    sides = all(type(side) is int and 0 <= side < MOST_BYTES for side in shape)
    return isinstance(name, str) and dtype in DTYPES and 1 <= len(shape) <= MOST_DIMENSIONS and sides


def _checksum(arrays: Any) -> int:
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return checksum


def as_text(kept: Mapping[Any, Any], name: Any, longest: int = 10_000) -> str:
    """Return a text of the header, which is to be printed. UserError: it is none, or not fit to be shown."""
    text = kept[name]
    if not isinstance(text, str) or len(text) > longest or not text.isprintable():
        raise UserError(f"its {name} is no text")
    return text
