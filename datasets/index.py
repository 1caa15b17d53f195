"""The index of a folder or zip file: the names of its images in flat arrays, cached on disk and shared by processes.

As Python strings, a million names would take a hundred megabytes in every process and half a minute at every start.
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

from datasets.cached_arrays import CachedArrays, as_text, read_cached, save_cached
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.image_files import Listing, list_pictures
from stylegan2.runtime.zip_members import Member, read_directory

KIND = "index"  # kind of the cached arrays
CACHED_FROM = 1_000  # images; listing fewer of them takes no noticeable time
MIN_AGE_NS = 2 * 10**9  # ns for which a folder must be unchanged, because some file systems record times this coarsely
SEPARATOR = 0  # byte after each name, which cannot occur in a name
# Matches a name that leads out of the folder: it is absolute or has a part "..", with "/" or in the form of Windows.
OUTSIDE_PATH = re.compile(rb"(^|\0)/|(^|[\0/])\.\.(/|\0)" + (rb"|[\\:]" if os.name == "nt" else rb""))


class Names(Sequence[str]):
    """A sequence of strings that are stored in one array of bytes.

    Args:
        text: uint8 array of the names in UTF-8, each followed by a zero byte.
        prefix: Text to put before each name.
    """

    def __init__(self, text: np.ndarray, prefix: str = "") -> None:
        self.text, self.prefix = text, prefix
        self.ends = np.flatnonzero(text == SEPARATOR)  # [N]

    @classmethod
    def of(cls, names: Sequence[str]) -> "Names":
        """Store names, none of which contains a zero byte."""
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
    """The images of a folder or zip file."""

    names: Names
    """sorted names: paths relative to the folder with "/", or the names of the members of the zip file"""
    members: np.ndarray | None
    """int64 [len(names), 6], one `Member` per row, for a zip file; None for a folder"""
    labels_files: dict[str, Member]
    """{name with "/": member} of the dataset.json files in a zip file"""
    file_kinds: str
    """how many files of each kind were found or skipped; "" if all files are images of one kind"""
    fingerprint: str | None
    """a text that changes whenever the data change; None if they changed so recently that a change could be missed"""


def open_index(path: Path) -> Index:
    """Return the index of a folder or zip file, from the cache if the data have not changed, else by listing them.

    Raises:
        ImageError, UserError: The data cannot be listed (see `list_pictures`), or there are no images.
    """
    state = None if path.is_dir() else _state_of_zip(path)
    for cached in read_cached(path, KIND):
        index = _checked(cached, path, state)
        if index is not None:
            return index
    started = time.time_ns()
    listing = list_pictures(path)
    if not listing.names:
        skipped = f" ({listing.summary()})" if listing.skipped else ""
        raise UserError(f"{path} contains no images: give a folder or zip with pictures{skipped}")
    visited = Names.of(listing.visited)
    fingerprint = state if listing.members is not None else _state_of_folder(path, visited, started)
    names = Names.of(listing.names)
    index = Index(names, listing.members, listing.labels_files, listing.file_kinds(), fingerprint)
    if fingerprint is not None and len(names) >= CACHED_FROM:
        _keep(path, index, visited, listing)
    return index


def _keep(path: Path, index: Index, visited: Names, listing: Listing) -> None:
    about = {"unlike": index.file_kinds, "labels_files": [[name, *row] for name, row in listing.labels_files.items()]}
    arrays = {"names": index.names.text, "visited": visited.text}
    arrays |= {} if index.members is None else {"members": index.members}
    save_cached(path, KIND, CachedArrays(str(index.fingerprint), about, arrays))


def _checked(cached: CachedArrays, path: Path, state: str | None) -> Index | None:
    """Return a cached index; None if the data have changed since, or if the index is invalid for these data."""
    try:
        folder, members = path.is_dir(), cached.arrays.get("members")
        names, visited = (Names(_text(cached.arrays[name], folder)) for name in ("names", "visited"))
        now = _state_of_folder(path, visited) if folder else state
        if now is None or now != cached.fingerprint or not len(names):
            return None
        if folder == (members is not None) or not _fit(members, len(names), path):
            return None
        rows = [(name, Member(*map(int, row))) for name, *row in cached.about["labels_files"]]
        labels_files = {str(name): member for name, member in rows}
        if not _fit(np.array([*labels_files.values()], np.int64).reshape(-1, len(Member._fields)), len(rows), path):
            return None
        return Index(names, members, labels_files, as_text(cached.about, "unlike"), now)
    except (UserError, OSError, KeyError, ValueError, TypeError, OverflowError):
        return None


def _text(text: np.ndarray, paths: bool) -> np.ndarray:
    """Validate names from a cache file. UserError: they are damaged, or a path leads out of the folder."""
    is_text = text.dtype == np.uint8 and text.ndim == 1 and (not len(text) or text[-1] == SEPARATOR)
    if not is_text or (paths and OUTSIDE_PATH.search(text.data)):
        raise UserError("its names are damaged")
    return text


def _fit(members: np.ndarray | None, count: int, path: Path) -> bool:
    """Return whether members have valid fields and lie within the zip file."""
    if members is None:
        return True
    if members.shape != (count, len(Member._fields)) or members.dtype != np.int64:
        return False
    offset, packed, size, checksum, method, flags = members.T
    inside = (offset >= 0) & (packed >= 0) & (size >= 0) & (offset <= path.stat().st_size)
    return bool((inside & (checksum >> 32 == 0) & (method >> 16 == 0) & (flags >> 16 == 0)).all())


# ------------------------------------------------------------------------------------------- the state of data


def _state_of_zip(path: Path) -> str | None:
    """Compute the fingerprint of a zip file from its size, time and central directory; None if it is no zip file."""
    try:
        state, (directory, shift) = path.stat(), read_directory(path)
    except Exception:  # `list_pictures` reports what is wrong
        return None
    digest = hashlib.blake2b(directory, digest_size=16)
    digest.update(f" {state.st_size} {state.st_mtime_ns} {shift}".encode())
    return f"zip {digest.hexdigest()}"


def _state_of_folder(path: Path, visited: Names, before: int | None = None) -> str | None:
    """Compute the fingerprint of a folder from the states of all folders in it, which change with the names in them.

    Args:
        path: The folder.
        visited: The folders in it ("" for itself), and the files whose content decides whether they are images.
        before: A time in ns. After a change shortly before or after it, a further change could have the same time.

    Returns:
        The fingerprint; None if something changed so recently that a further change could be missed.

    Raises:
        OSError: A folder does not exist any more.
    """
    digest, latest, top = hashlib.blake2b(visited.text.data, digest_size=16), 0, str(path)
    for name in visited:
        state = os.stat(os.path.join(top, name))
        digest.update(f"{state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\n".encode())
        latest = max(latest, state.st_mtime_ns, state.st_ctime_ns)
    return None if before is not None and latest > before - MIN_AGE_NS else f"folder {digest.hexdigest()}"
