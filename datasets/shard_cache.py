"""Local access to the tar files of a data set: shards behind URLs are downloaded when they are first read.

Downloaded shards are kept in the cache folder, up to PSP_SHARD_CACHE_GB gigabytes. The least recently used shards are
deleted first.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from stylegan2.runtime import remote
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import cache_folder, writing
from stylegan2.runtime.work_group import ordered_map

MIN_CACHED_SHARDS = 32  # upper bound on the shards that a training and its workers need at once
LIMIT_VARIABLE, LIMIT = "PSP_SHARD_CACHE_GB", 100.0
TRIES = 3  # attempts to open a shard that another process may delete
SIZE_REQUESTS = 16  # number of concurrent requests for the sizes of shards


class ShardCache:
    """The shards of a data set, by number.

    Args:
        places: Paths or URLs of the shards.

    Raises:
        UserError: A shard is missing, is listed twice, or cannot be reached.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self.places = list(places)
        if len(set(self.places)) < len(self.places):
            raise UserError("the pattern of shards contains some of them twice")
        self.folder = cache_folder() / "shards"
        self.remote = any(remote.url_of(place) for place in self.places)
        self._infos = list(ordered_map(_described, self.places, SIZE_REQUESTS))
        self._top = _common_folder(self.places)
        self._ahead: ThreadPoolExecutor | None = None
        self._fetching: dict[int, Future] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_ahead": None, "_fetching": {}}  # threads cannot be pickled

    def name(self, number: int) -> str:
        """Return the name of a shard relative to the folder that contains all shards."""
        return self.places[number].removeprefix(self._top)

    def names(self) -> list[str]:
        """Return the names of all shards, relative to the folder that contains them."""
        return [self.name(number) for number in range(len(self))]

    def sizes(self) -> list[int]:
        """Return the sizes of all shards in bytes; -1 for a size that the server does not report."""
        return [-1 if info.get("size") is None else int(info["size"]) for info in self._infos]

    def digest(self) -> str:
        """Compute a digest of the content, from paths, sizes and times of the shards."""
        states = (f"{place} {remote.state_of(info)}\n" for place, info in zip(self.places, self._infos, strict=True))
        return hashlib.sha256("".join(states).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def beside(self, name: str) -> Path | None:
        """Return the path of a file in the folder of the shards, downloaded if necessary; None if it does not exist."""
        if remote.url_of(self._top) is None:
            path = Path(self._top, name)
            return path if path.is_file() else None
        try:
            return remote.fetch_file(self._top + name)
        except remote.RefusedError:  # the file does not exist
            return None

    def open(self, number: int) -> BinaryIO:
        """Open a shard for reading. UserError: it cannot be downloaded or read."""
        for _ in range(TRIES):
            path = self.fetch(number)
            try:
                return path.open("rb", buffering=0)
            except FileNotFoundError:  # another process has just deleted it to make room
                continue
            except OSError as error:
                raise UserError(f"cannot read the shard {self.places[number]!r} ({error.strerror})") from error
        raise UserError(
            f"{self.places[number]} is deleted from {str(self.folder)!r} before it is read: "
            f"set {LIMIT_VARIABLE} to the size of at least {MIN_CACHED_SHARDS} shards"
        )

    def fetch(self, number: int) -> Path:
        """Return the local path of a shard, downloaded if necessary. UserError: it cannot be downloaded."""
        place, info = self.places[number], self._infos[number]
        if remote.url_of(place) is None:
            return Path(place)
        path = remote.cached(place, self.folder, info)
        if not path.is_file():
            path = remote.fetch_file(place, self.folder, info)
            self._make_room(path)
        with contextlib.suppress(OSError):
            os.utime(path)  # marks the shard as recently used
        return path

    def fetch_ahead(self, numbers: Sequence[int]) -> None:
        """Start to download shards that will soon be read; errors are reported when the shards are read."""
        if not self.remote:
            return
        if self._ahead is None:
            self._ahead = ThreadPoolExecutor(1, "shards")
        self._fetching = {number: future for number, future in self._fetching.items() if not future.done()}
        for number in numbers:
            if number not in self._fetching:
                self._fetching[number] = self._ahead.submit(self.fetch, number)

    def _make_room(self, newest: Path) -> None:
        """Delete the least recently used shards until the others are within the limit."""
        limit = _limit_in_bytes()
        with writing(self.folder), FileLock(self.folder / ".room.lock"):
            shards = [(path.stat(), path) for path in self.folder.glob("*/*.tar")]
            held = sum(state.st_size for state, _ in shards)
            for state, path in sorted(shards, key=lambda entry: entry[0].st_mtime):
                if held <= limit:
                    break
                if path == newest:
                    continue
                with contextlib.suppress(OSError):  # Windows cannot delete a file that another process reads
                    shutil.rmtree(path.parent)
                    held -= state.st_size


def _described(place: str) -> remote.FileInfo:
    if remote.url_of(place) is not None:
        return remote.remote_info(place)
    try:
        state = os.stat(place)
    except OSError as error:
        raise UserError(f"there is no shard {place!r} ({error.strerror}): check the pattern") from error
    return {"size": state.st_size, "mtime": state.st_mtime_ns}


def _common_folder(places: Sequence[str]) -> str:
    """Return the longest common prefix of all paths or URLs that ends in "/" or the separator of this machine."""
    first, last = min(places), max(places)  # in alphabetical order, their common prefix is that of all
    length = next(
        (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )
    common = first[:length]
    return common[: max(common.rfind("/"), common.rfind(os.sep)) + 1]


def _limit_in_bytes() -> float:
    text = os.environ.get(LIMIT_VARIABLE) or str(LIMIT)
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise UserError(f"{LIMIT_VARIABLE} must be a number of gigabytes, not {text!r}")
    return limit * 1e9
