"""A disk cache for images that are expensive to make: each is computed once, then read back."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stylegan2.runtime.errors import UserError


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/psp, by default ~/.cache/psp; may be deleted at any time between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "psp"


class DiskCache:
    """Remembers `images[index]` (uint8, all of one shape) in one file of pixels and one of flags.

    Workers and processes may share it: they write equal bytes, and a flag is raised after its pixels.
    `key` names what is cached and changes whenever the pixels would.
    """

    def __init__(self, images: Sequence[np.ndarray], shape: tuple[int, ...], key: str) -> None:
        self.images, self.shape = images, shape
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        self.path = cache_folder() / f"{name}.u8"
        self._pixels: np.memmap | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_pixels": None, "_flags": None}

    def __getitem__(self, index: int) -> np.ndarray:
        if self._pixels is None:
            self._open()
        if not self._flags[index]:
            self._pixels[index] = self.images[index]
            self._flags[index] = 1
        return np.array(self._pixels[index])

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._pixels = _sparse_file(self.path, (len(self), *self.shape))
            self._flags = _sparse_file(self.path.with_suffix(".flags"), (len(self),))
        except OSError as error:
            folder = str(self.path.parent)
            raise UserError(f"cannot write to {folder!r}: {error.strerror}; set XDG_CACHE_HOME to a folder") from error


def _sparse_file(path: Path, shape: tuple[int, ...]) -> np.memmap:
    with path.open("ab") as file:  # truncating to the same size keeps what other processes wrote
        file.truncate(int(np.prod(shape)))
    return np.memmap(path, np.uint8, "r+", shape=shape)
