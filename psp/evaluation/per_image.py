"""Keep the values of single images on disk, so that no image is measured twice."""

import hashlib
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from stylegan2.runtime.bounded import read_arrays, reading
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, writing

VERSION = 2  # raise it whenever a metric changes, so that no older value is used
SAVE_SECONDS = 5.0  # least time between two writes


class PerImageValues:
    """Values of single images and some pictures, in a file of their own: `with PerImageValues(...) as values:`.

    Values that were stored under the same key are read again, so that an interrupted run continues after its last
    batch. The file is written every few seconds and at the end of the block, also after an exception.

    Args:
        folder: Folder of the file.
        name: Name of the measurement, which is part of the name of the file.
        key: JSON of everything that the values depend on.

    Attributes:
        values: {metric: [N] or [N, L]}.
        pictures: uint8 [K, H, W, 3], of the first images.
    """

    def __init__(self, folder: Path, name: str, key: Mapping[str, object]) -> None:
        self.key = json.dumps({"version": VERSION, **key}, sort_keys=True)
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:8]
        self.path = folder / f"{slug(name)}-{digest}.npz"
        self.values: dict[str, np.ndarray] = {}
        self.pictures = np.zeros((0, 0, 0, 3), np.uint8)
        self._saved_at, self._changed = time.monotonic(), False
        if self.path.is_file():
            self._load()

    def __enter__(self) -> "PerImageValues":
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    @property
    def count(self) -> int:
        """Return the number of images measured so far."""
        return min((len(value) for value in self.values.values()), default=0)

    def add(self, values: dict[str, Tensor], pictures: np.ndarray) -> None:
        """Append the next images.

        Args:
            values: {metric: [N] or [N, L]}.
            pictures: uint8 [n, H, W, 3], of the first n of these images.
        """
        for name, tensor in values.items():
            new = tensor.detach().cpu().numpy()
            self.values[name] = np.concatenate([self.values[name], new]) if name in self.values else new
        if len(pictures):
            self.pictures = np.concatenate([self.pictures, pictures]) if len(self.pictures) else pictures
        self._changed = True
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write new values to the file. UserError: the file cannot be written."""
        if not self._changed:
            return
        arrays: dict[str, Any] = {f"value/{name}": value for name, value in self.values.items()}
        with writing(self.path), atomic_file(self.path, durable=False) as file:
            np.savez(file, key=np.array(self.key), pictures=self.pictures, **arrays)
        self._saved_at, self._changed = time.monotonic(), False

    def first(self, count: int) -> dict[str, np.ndarray]:
        """Return {metric: values of the first `count` images}, [count] or [count, L] each."""
        return {name: value[:count] for name, value in self.values.items()}

    def _load(self) -> None:
        try:
            with reading(self.path, "a file of values"):
                stored = read_arrays(self.path)
                if str(stored["key"]) != self.key:
                    return
                pictures = stored["pictures"]
                values = {name[6:]: array for name, array in stored.items() if name.startswith("value/")}
        except UserError:
            print(f"{str(self.path)!r} is damaged, so it is measured again")
            return
        self.values, self.pictures = values, pictures


def slug(name: str) -> str:
    """Turn a name into a part of a file name, of letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("+", " plus ")).strip("_") or "unnamed"
