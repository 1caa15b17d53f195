"""Journals of long computations: one record on disk per finished item, from which an interrupted run resumes.

Each process appends to files of its own, so that any number of processes can write into one folder. `NAME.jsonl` holds
one line of JSON per item. Bytes that belong to a record are in `NAME.bin`, and are written before the line is. Readers
skip a line that a killed process left incomplete, and keep only the position of each record in memory.
"""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from stylegan2.runtime.bounded import parse_json
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import make_folder, writing

LONGEST_LINE = 64 * 2**20  # bytes of one record
BLOBS = "blobs"  # key of [offset, size, size, ...], the position of a record's bytes
Record = dict[str, Any]


class Journal:
    """A writer that appends records to new files in a folder: `with Journal(folder) as journal:`.

    Args:
        folder: The folder, which is created with the first record.
        path: An existing file to append lines to, instead of a new one; such a journal has no blobs.
    """

    def __init__(self, folder: Path, path: Path | None = None) -> None:
        new = folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.jsonl"  # later journals sort after earlier ones
        self.path = new if path is None else path
        self._lines: IO[bytes] | None = None
        self._bytes: IO[bytes] | None = None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._bytes, self._lines):
            with contextlib.suppress(OSError):  # on a full disk, flushing the buffer fails too
                if file is not None:
                    file.close()

    def append(self, record: Record, blobs: Sequence[bytes | memoryview] = ()) -> None:
        """Append a record and the bytes that belong to it.

        Args:
            record: The record, as JSON.
            blobs: Byte strings, which `Records.blobs` returns in the same order.

        Raises:
            UserError: The files cannot be written.
        """
        with writing(self.path):
            if self._lines is None:
                make_folder(self.path.parent)
                self._lines = _open_to_append(self.path)
            if blobs:
                record = {**record, BLOBS: self._append_bytes(blobs)}
            self._lines.write(json.dumps(record).encode() + b"\n")
            self._lines.flush()

    def _append_bytes(self, blobs: Sequence[bytes | memoryview]) -> list[int]:
        if self._bytes is None:
            self._bytes = self.path.with_suffix(".bin").open("ab")
        place = [self._bytes.tell(), *(memoryview(blob).nbytes for blob in blobs)]
        for blob in blobs:
            self._bytes.write(blob)
        self._bytes.flush()
        return place


def _open_to_append(path: Path) -> IO[bytes]:
    """Open a file of lines for appending, and end its last line if a killed process left it incomplete."""
    file = path.open("a+b")
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


class Records:
    """The newest record of each item in any number of journals: `with Records(...) as records: records.get(number)`.

    Args:
        paths: The .jsonl files; records of a later file replace those of an earlier one.
        numbers: {item: its number}; records of other items are skipped.
        key: Name of the field of a record that holds its item.
        is_valid: Returns whether a record has the expected form, since the file may come from anybody.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        numbers: Mapping[Any, int],
        key: str,
        is_valid: Callable[[Record], bool] = lambda _: True,
    ) -> None:
        self.paths, self.is_valid = [path for path in paths if path.is_file()], is_valid
        self._file = np.full(len(numbers), -1, np.int32)  # index into `paths`; -1: no record
        self._offset = np.zeros(len(numbers), np.int64)
        self._opened: dict[Path, IO[bytes]] = {}
        for number, path in enumerate(self.paths):
            for offset, record in _records(path):
                item = record.get(key)
                index = numbers.get(item) if isinstance(item, str | int) else None
                if index is not None and is_valid(record):
                    self._file[index], self._offset[index] = number, offset

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._opened.values():
            file.close()

    def __contains__(self, number: int) -> bool:
        return bool(self._file[number] >= 0)

    def get(self, number: int) -> Record | None:
        """Return the record of an item, or None if there is none."""
        if number not in self:
            return None
        lines = self._open(self.paths[self._file[number]])
        lines.seek(int(self._offset[number]))
        return json.loads(lines.readline())  # checked when the file was indexed

    def blobs(self, number: int, record: Record) -> list[bytes]:
        """Read the bytes that belong to the record of an item. UserError: the file cannot be read."""
        path = self.paths[self._file[number]].with_suffix(".bin")
        offset, *sizes = record[BLOBS]
        with writing(path):
            file = self._open(path)
            file.seek(offset)
            return [file.read(size) for size in sizes]

    def has_blobs(self, number: int, record: Record, count: int) -> bool:
        """Return whether a record names `count` byte strings and they lie within the file of bytes."""
        path, place = self.paths[self._file[number]].with_suffix(".bin"), record.get(BLOBS)
        if not isinstance(place, list) or len(place) != count + 1 or not all(isinstance(n, int) for n in place):
            return False
        return min(place) >= 0 and path.is_file() and sum(place) <= path.stat().st_size

    def _open(self, path: Path) -> IO[bytes]:
        if path not in self._opened:
            self._opened[path] = path.open("rb")
        return self._opened[path]


def journals(folder: Path) -> list[Path]:
    """List the journals of a folder, the oldest first."""
    return sorted(folder.glob("*.jsonl"))


def _records(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield (offset, record) for each complete line of a file."""
    offset = 0
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            try:
                record = parse_json(line)
            except UserError:
                record = None
            if isinstance(record, dict):
                yield offset, record
            offset += len(line)
