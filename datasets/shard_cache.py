"""The tar files of a data set as files of this machine: those by URL are fetched whole when they are first read.

What was fetched stays in the folder of caches, which keeps at most PSP_SHARD_CACHE_GB of it: those that were used
longest ago make room.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from stylegan2.runtime import remote
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import cache_folder, writing
from stylegan2.runtime.threads import ordered_map

ROOM = 32  # shards that a training and its workers need at once, generously
LIMIT_VARIABLE, LIMIT = "PSP_SHARD_CACHE_GB", 100.0
TRIES = 3  # to open what another process may delete
ASKED_AT_A_TIME = 16  # shards whose sizes are asked for


class ShardCache:
    """Shards by number.

    Args:
        places: Paths or URLs.

    Raises:
        UserError: One of them is missing, named twice, or cannot be reached.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self.places = list(places)
        if len(set(self.places)) < len(self.places):
            raise UserError("the pattern of shards names some of them twice")
        self.folder = cache_folder() / "shards"
        self.remote = any(remote.url_of(place) for place in self.places)
        self._infos = list(ordered_map(_described, self.places, ASKED_AT_A_TIME))
        self._top = _common_folder(self.places)
        self._ahead: ThreadPoolExecutor | None = None
        self._fetching: dict[int, Future] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ahead": None, "_fetching": {}}  # threads cannot be sent to a process

    def name(self, number: int) -> str:
        """Return the name of a shard below the folder of all."""
        return self.places[number].removeprefix(self._top)

    def names(self) -> list[str]:
        """Return the names of all shards."""
        return [self.name(number) for number in range(len(self))]

    def sizes(self) -> list[int]:
        """Return the bytes of all shards; -1 where a server does not say."""
        return [-1 if info.get("size") is None else int(info["size"]) for info in self._infos]

    def digest(self) -> str:
        """Name the content: by places, sizes and times."""
        states = (f"{place} {remote.state_of(info)}\n" for place, info in zip(self.places, self._infos, strict=True))
        return hashlib.sha256("".join(states).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def beside(self, name: str) -> Path | None:
        """Return a file of some name in the folder of the shards, fetched where that is elsewhere; None without one."""
        if remote.url_of(self._top) is None:
            path = Path(self._top, name)
            return path if path.is_file() else None
        try:
            return remote.fetch_file(self._top + name)
        except remote.RefusedError:  # there is none
            return None

    def open(self, number: int) -> BinaryIO:
        """Open a shard to read. UserError: it cannot be fetched, or not be read."""
        for _ in range(TRIES):
            path = self.fetch(number)
            try:
                return path.open("rb", buffering=0)
            except FileNotFoundError:  # another process has just made room
                continue
            except OSError as error:
                raise UserError(f"cannot read the shard {self.places[number]!r} ({error.strerror})") from error
        raise UserError(
            f"{self.places[number]} does not stay in {str(self.folder)!r}: let {LIMIT_VARIABLE} fit {ROOM} shards"
        )

    def fetch(self, number: int) -> Path:
        """Return the file of a shard on this machine, fetched where it is elsewhere. UserError: it cannot be."""
        place, info = self.places[number], self._infos[number]
        if remote.url_of(place) is None:
            return Path(place)
        path = remote.cached(place, self.folder, info)
        if not path.is_file():
            path = remote.fetch_file(place, self.folder, info)
            self._make_room(path)
        with contextlib.suppress(OSError):
            os.utime(path)  # what was used last is deleted last
        return path

    def fetch_ahead(self, numbers: Sequence[int]) -> None:
        """Begin to fetch shards that will soon be read; mistakes show when they are read."""
        if not self.remote:
            return
        if self._ahead is None:
            self._ahead = ThreadPoolExecutor(1, "shards")
        self._fetching = {number: future for number, future in self._fetching.items() if not future.done()}
        for number in numbers:
            if number not in self._fetching:
                self._fetching[number] = self._ahead.submit(self.fetch, number)

    def _make_room(self, newest: Path) -> None:
        """Delete what was used longest ago until the rest is within the limit."""
        limit = _limit_in_bytes()
        with writing(self.folder), FileLock(self.folder / ".room.lock"):
            found = [(path.stat(), path) for path in self.folder.glob("*/*.tar")]
            held = sum(state.st_size for state, _ in found)
            for state, path in sorted(found, key=lambda entry: entry[0].st_mtime):
                if held <= limit:
                    break
                if path == newest:
                    continue
                with contextlib.suppress(OSError):  # Windows keeps a file that another process reads
                    shutil.rmtree(path.parent)
                    held -= state.st_size


def _described(place: str) -> dict[str, Any]:
    if remote.url_of(place) is not None:
        return remote.describe(place)
    try:
        state = os.stat(place)
    except OSError as error:
        raise UserError(f"there is no shard {place!r} ({error.strerror}): check the pattern") from error
    return {"size": state.st_size, "mtime": state.st_mtime_ns}


def _common_folder(places: Sequence[str]) -> str:
    """Return what all places begin with, up to a "/" or the separator of this machine, and with it."""
    first, last = min(places), max(places)  # in the order of letters, so that all begin as these two do
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
        raise UserError(f"{LIMIT_VARIABLE} is a number of gigabytes for shards from elsewhere, not {text!r}")
    return limit * 1e9
