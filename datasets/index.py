"""What a folder or zip file holds, in flat arrays: listed once, kept beside it, and shared by processes.

A million names as Python strings would take a hundred megabytes in every process, and half a minute at every start.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from datasets.kept_arrays import Kept, as_text, keep, read_kept
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.image_files import Listing, list_pictures
from stylegan2.runtime.zip_members import Member, read_directory

KIND = "index"  # of kept arrays
KEPT_FROM = 1_000  # pictures; fewer are listed in no time
SETTLED = 2 * 10**9  # ns that a folder has to be unchanged: the clocks of some file systems tick no faster
SEPARATOR = 0  # between names, in which it cannot be
# A name that leads out of the folder: it is absolute or has a part "..", with "/" or as Windows writes it.
LEADS_OUT = re.compile(rb"(^|\0)/|(^|[\0/])\.\.(/|\0)" + (rb"|[\\:]" if os.name == "nt" else rb""))


class Names(Sequence[str]):
    """Strings in one array of bytes.

    Args:
        text: uint8, the names as UTF-8, each with a zero behind it.
        prefix: Put before each.
    """

    def __init__(self, text: np.ndarray, prefix: str = "") -> None:
        self.text, self.prefix = text, prefix
        self.ends = np.flatnonzero(text == SEPARATOR)  # [N]

    @classmethod
    def of(cls, names: Sequence[str]) -> "Names":
        """Lay out names in which there is no zero."""
        joined = "".join(f"{name}\0" for name in names).encode("utf-8", "surrogateescape")
        return cls(np.frombuffer(joined, np.uint8))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        start = int(self.ends[number - 1]) + 1 if number else 0
        return self.prefix + self.text[start : self.ends[number]].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for name in self.text.tobytes().split(b"\0")[:-1]:
            yield self.prefix + name.decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Index:
    """The pictures of a folder or zip file."""

    names: Names
    """sorted; below the folder with "/", or as the zip file has them"""
    members: np.ndarray | None
    """int64 [len(names), 6], a `Member` in each row, of a zip file"""
    labels_files: dict[str, Member]
    """those of a zip file that are called as the file of labels is, by their names with "/" """
    unlike: str
    """what was found by kind, and passed over; "" where all files are pictures of one kind"""
    fingerprint: str | None
    """names the state of the data; None where it may change without that being seen"""


def open_index(path: Path) -> Index:
    """Return what a folder or zip file holds: as it was kept, where it has not changed since, else listed.

    Raises:
        ImageError, UserError: See `list_pictures`; or there is no picture.
    """
    state = None if path.is_dir() else _state_of_zip(path)
    for kept in read_kept(path, KIND):
        index = _checked(kept, path, state)
        if index is not None:
            return index
    started = time.time_ns()
    listing = list_pictures(path)
    if not listing.names:
        found = f" ({listing.describe()})" if listing.passed_over else ""
        raise UserError(f"{path} holds no images: give a folder or zip with pictures{found}")
    visited = Names.of(listing.visited)
    fingerprint = state if listing.members is not None else _state_of_folder(path, visited, started)
    names = Names.of(listing.names)
    index = Index(names, listing.members, listing.labels_files, listing.unlike(), fingerprint)
    if fingerprint is not None and len(names) >= KEPT_FROM:
        _keep(path, index, visited, listing)
    return index


def _keep(path: Path, index: Index, visited: Names, listing: Listing) -> None:
    about = {"unlike": index.unlike, "labels_files": [[name, *row] for name, row in listing.labels_files.items()]}
    arrays = {"names": index.names.text, "visited": visited.text}
    arrays |= {} if index.members is None else {"members": index.members}
    keep(path, KIND, Kept(str(index.fingerprint), about, arrays))


def _checked(kept: Kept, path: Path, state: str | None) -> Index | None:
    """Return the index that was kept; None where the data has changed since, or it could not be of this data."""
    try:
        folder, members = path.is_dir(), kept.arrays.get("members")
        names, visited = (Names(_text(kept.arrays[name], folder)) for name in ("names", "visited"))
        now = _state_of_folder(path, visited) if folder else state
        if now is None or now != kept.fingerprint or not len(names):
            return None
        if folder == (members is not None) or not _fit(members, len(names), path):
            return None
        rows = [(name, Member(*map(int, row))) for name, *row in kept.about["labels_files"]]
        labels_files = {str(name): member for name, member in rows}
        if not _fit(np.array([*labels_files.values()], np.int64).reshape(-1, len(Member._fields)), len(rows), path):
            return None
        return Index(names, members, labels_files, as_text(kept.about, "unlike"), now)
    except (UserError, OSError, KeyError, ValueError, TypeError, OverflowError):
        return None


def _text(text: np.ndarray, paths: bool) -> np.ndarray:
    """Check names that stand in a file. UserError: they are none, or one that is a path leads out of the folder."""
    is_text = text.dtype == np.uint8 and text.ndim == 1 and (not len(text) or text[-1] == SEPARATOR)
    if not is_text or (paths and LEADS_OUT.search(text.data)):
        raise UserError("its names are damaged")
    return text


def _fit(members: np.ndarray | None, count: int, path: Path) -> bool:
    """Return whether members of a zip file may lie in it."""
    if members is None:
        return True
    if members.shape != (count, len(Member._fields)) or members.dtype != np.int64:
        return False
    offset, packed, size, checksum, method, flags = members.T
    inside = (offset >= 0) & (packed >= 0) & (size >= 0) & (offset <= path.stat().st_size)
    return bool((inside & (checksum >> 32 == 0) & (method >> 16 == 0) & (flags >> 16 == 0)).all())


# ------------------------------------------------------------------------------------------- the state of data


def _state_of_zip(path: Path) -> str | None:
    """Name the state of a zip file, by its size, time and list of members with their checksums; None for no zip."""
    try:
        state, (directory, shift) = path.stat(), read_directory(path)
    except Exception:  # `list_pictures` says what is wrong
        return None
    digest = hashlib.blake2b(directory, digest_size=16)
    digest.update(f" {state.st_size} {state.st_mtime_ns} {shift}".encode())
    return f"zip {digest.hexdigest()}"


def _state_of_folder(path: Path, visited: Names, before: int | None = None) -> str | None:
    """Name the state of a folder, by those of all folders in it, which change with the names in them.

    Args:
        path: The folder.
        visited: Folders in it, "" for itself, and files that tell only by what is in them whether they are pictures.
        before: A time in ns; where something changed only shortly before, or later, it may change again unseen.

    Returns:
        None where that is so.

    Raises:
        OSError: A folder is not there any more.
    """
    digest, latest, top = hashlib.blake2b(visited.text.data, digest_size=16), 0, str(path)
    for name in visited:
        state = os.stat(os.path.join(top, name))
        digest.update(f"{state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\n".encode())
        latest = max(latest, state.st_mtime_ns, state.st_ctime_ns)
    return None if before is not None and latest > before - SETTLED else f"folder {digest.hexdigest()}"
