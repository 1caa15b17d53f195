"""A disk cache for images that are expensive to make: each is computed once, then read back."""

import errno
import hashlib
from pathlib import Path

import numpy as np

from datasets.examples import Indexed
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import cache_folder

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
ELSEWHERE = "set XDG_CACHE_HOME to a folder"


class DiskCache:
    """Remembers `images[index]` (uint8, all of one shape) in one file of pixels and one of flags.

    Workers and processes may share it: they write equal bytes, and a flag is raised after its pixels.
    `key` names what is cached and changes whenever the pixels would.
    The files are sparse: they take as much of the disk as has been written. UserError: there is no more.
    """

    # Written and read, not mapped: a mapped page for which the disk has no room would kill the process.

    def __init__(self, images: Indexed[np.ndarray], shape: tuple[int, ...], key: str) -> None:
        self.images, self.shape = images, shape
        self.image_bytes = int(np.prod(shape))
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        self.pixels, self.flags = cache_folder() / f"{name}.u8", cache_folder() / f"{name}.flags"
        self._ready = False

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> np.ndarray:
        index = range(len(self))[index]
        try:
            if not self._ready:
                self._prepare()
            if _read(self.flags, index, 1) != b"\1":
                image = np.ascontiguousarray(self.images[index])
                _write(self.pixels, index * self.image_bytes, image.tobytes())
                _write(self.flags, index, b"\1")
                return image.copy()
            pixels = bytearray(_read(self.pixels, index * self.image_bytes, self.image_bytes))
        except OSError as error:
            raise _refused(error) from error
        return np.frombuffer(pixels, np.uint8).reshape(self.shape)

    def _prepare(self) -> None:
        """Give both files their full length; what another process wrote into them stays."""
        cache_folder().mkdir(parents=True, exist_ok=True)
        for path, size in ((self.pixels, len(self) * self.image_bytes), (self.flags, len(self))):
            with path.open("ab") as file:
                file.truncate(size)
        self._ready = True


def _read(path: Path, start: int, count: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read(count)


def _write(path: Path, start: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


def _refused(error: OSError) -> UserError:
    where = f"cannot use the cache in {str(cache_folder())!r}"
    if error.errno in FULL:
        return UserError(f"{where}: the disk is full; {ELSEWHERE} on another disk")
    return UserError(f"{where}: {error.strerror}; {ELSEWHERE}")
