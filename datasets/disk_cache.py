"""A disk cache for images that are expensive to compute: each is computed once and then read from disk."""

import errno
import hashlib
from pathlib import Path

import numpy as np

from datasets.examples import Indexed
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import cache_folder

DISK_FULL_ERRORS = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
ELSEWHERE = "set XDG_CACHE_HOME to a folder"


class DiskCache:
    """A cache of images in a file of pixels and a file of flags; `[index]` returns an image, computed if necessary.

    Several processes may share it: they write equal bytes, and set the flag of an image after its pixels. The files
    are sparse, so that they occupy only the space of the images that have been written.

    Args:
        images: The images, uint8 arrays of one shape by index.
        shape: Shape of each image.
        key: Name of the content, which changes whenever the pixels change.

    Raises:
        UserError: On access, if the disk is full or the cache folder cannot be used.
    """

    # The files are not memory-mapped, because writing to a mapped page on a full disk would kill the process.

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
        """Extend both files to their full length, and keep what other processes have written into them."""
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
    if error.errno in DISK_FULL_ERRORS:
        return UserError(f"{where}: the disk is full; {ELSEWHERE} on another disk")
    return UserError(f"{where}: {error.strerror}; {ELSEWHERE}")
