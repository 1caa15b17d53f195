"""The file of codes that inference and projection write and edits read: names, w_plus and optionally features."""

import contextlib
import math
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from stylegan2.runtime.bounded import LONGEST_NAME, read_arrays, reading
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, writing
from stylegan2.runtime.output_names import printable

MAX_FEATURES = 2**24  # numbers that correct the features of one code
PART = 2**20  # bytes that are copied at a time
DTYPES = {"w_plus": "<f4", "features": "<f2"}


def save_codes(path: str | os.PathLike, names: Sequence[str], w_plus: Tensor, features: Tensor | None = None) -> None:
    """Write a file of codes in NumPy's .npz format.

    Args:
        path: The file to write.
        names: [N], the names of what the codes represent.
        w_plus: [N, num_ws, w_dim], written as float32.
        features: [N, C, r, r], corrections of the generator's features, written as float16; None if there are none.

    Raises:
        UserError: The file cannot be written.
    """
    with CodesWriter(path) as writer:
        writer.append(names, w_plus, features)
        writer.write()


class CodesWriter:
    """Write a file of codes as they arrive, without keeping any in memory, so that only the disk limits their number.

    The codes are collected in unnamed temporary files beside `path`; `write` assembles the file from them.

    Args:
        path: The .npz file.
        code_shape: (num_ws, w_dim), needed only where no codes may arrive at all.

    Raises:
        UserError: The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike, code_shape: tuple[int, ...] = ()) -> None:
        self.path, self.names = Path(path), list[str]()
        self._shapes: dict[str, tuple[int, ...]] = {"w_plus": code_shape}
        self._waiting: dict[str, IO[bytes]] = {}

    def __enter__(self) -> "CodesWriter":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._waiting.values():
            with contextlib.suppress(OSError):  # on a full disk, not even the buffered data can be written
                file.close()

    def append(self, names: Sequence[str], w_plus: Tensor, features: Tensor | None = None) -> None:
        """Add N codes: w_plus [N, num_ws, w_dim] and, for all codes of a file or none, features [N, C, r, r]."""
        self._append("w_plus", w_plus.detach().float().cpu().numpy())
        if features is not None:
            self._append("features", features.detach().half().cpu().numpy())
        self.names += names  # last, so that partly written codes do not count

    def _append(self, name: str, values: np.ndarray) -> None:
        with writing(self.path):
            if name not in self._waiting:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._waiting[name] = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115 (closed at the end)
            self._shapes[name] = values.shape[1:]
            self._waiting[name].write(np.ascontiguousarray(values).data)

    def write(self) -> None:
        """Assemble the file from all codes so far."""
        with writing(self.path), atomic_file(self.path, durable=False) as file, zipfile.ZipFile(file, "w") as archive:
            with archive.open("names.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.array(self.names, dtype=np.str_))
            for name, shape in self._shapes.items():
                header = {"descr": DTYPES[name], "fortran_order": False, "shape": (len(self.names), *shape)}
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    if name in self._waiting:
                        self._copy(name, member)

    def _copy(self, name: str, member: IO[bytes]) -> None:
        left = len(self.names) * math.prod(self._shapes[name]) * np.dtype(DTYPES[name]).itemsize
        file = self._waiting[name]
        file.seek(0)
        while left:
            part = file.read(min(left, PART))
            member.write(part)
            left -= len(part)


def load_codes(
    path: str | os.PathLike, num_ws: int, w_dim: int, refused: dict[str, str] | None = None
) -> tuple[list[str], Tensor, Tensor | None]:
    """Read codes for a generator of these sizes; nothing in the file is executed.

    Args:
        path: The file, `latents.npz`.
        num_ws, w_dim: Sizes of the generator.
        refused: Codes that are not finite numbers are left out and added to this dict, with the reason; if it is None,
            they are an error.

    Returns:
        The names, w_plus [N, num_ws, w_dim] and features [N, C, r, r] or None, in float32.

    Raises:
        UserError: There is no such file, or it holds something else, codes for another generator, or no finite codes.
    """
    with reading(path, "a file of codes (names and w_plus)"):
        stored = read_arrays(path, ("names", "w_plus", "features"))
        names, w_plus, features = _names(stored["names"]), stored["w_plus"], stored.get("features")
    if w_plus.ndim != 3 or w_plus.dtype.kind != "f" or len(w_plus) != len(names):
        raise UserError(f"{str(path)!r} is not a file of codes: w_plus is {w_plus.dtype} {list(w_plus.shape)}")
    if w_plus.shape[1:] != (num_ws, w_dim):
        raise UserError(
            f"{str(path)!r} contains codes of {w_plus.shape[1]} rows of {w_plus.shape[2]} numbers, but this generator "
            f"takes {num_ws} rows of {w_dim}: use the generator for which they were found"
        )
    if features is not None and (
        features.ndim != 4
        or features.dtype.kind != "f"
        or len(features) != len(names)
        or features.size > MAX_FEATURES * len(names)
    ):
        raise UserError(f"{str(path)!r} is not a file of codes: features is {features.dtype} {list(features.shape)}")
    arrays = [_float32(array) for array in (w_plus, features) if array is not None]
    finite = np.all([np.isfinite(array).all(tuple(range(1, array.ndim))) for array in arrays], axis=0)  # [N]
    bad = [name for name, usable in zip(names, finite, strict=True) if not usable]
    if bad and (refused is None or not finite.any()):
        raise UserError(f"{str(path)!r}: the codes of {printable(bad[0])!r} are not finite numbers")
    if bad and refused is not None:
        refused.update((name, f"the codes of {name!r} in {str(path)!r} are not finite numbers") for name in bad)
        names = [name for name, usable in zip(names, finite, strict=True) if usable]
        arrays = [array[finite] for array in arrays]
    tensors = [torch.from_numpy(array) for array in arrays]
    return names, tensors[0], tensors[1] if features is not None else None


def _float32(array: np.ndarray) -> np.ndarray:
    """Convert floating-point numbers to float32; those that are too large become infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _names(array: np.ndarray) -> list[str]:
    """Return the names of codes. UserError: they are no list of texts, or longer than the name of any file."""
    if array.ndim != 1 or array.dtype.kind != "U" or array.dtype.itemsize > 4 * 16 * LONGEST_NAME:
        raise UserError("it is not a file of codes: its names are not a list of texts")
    return [str(name) for name in array]
