"""The file of codes that inference and projection write, and edits read: names, w_plus and, beyond them, features."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stylegan2.runtime.bounded import LONGEST_NAME, read_arrays, reading
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, writing

MOST_FEATURES = 2**24  # numbers that correct the features of one code


def save_codes(path: str | os.PathLike, names: Sequence[str], w_plus: Tensor, features: Tensor | None = None) -> None:
    """Write an .npz for NumPy.

    Args:
        path: The file.
        names: [N], what the codes are of.
        w_plus: [N, num_ws, w_dim], written as float32.
        features: [N, C, r, r], corrections of the generator's features; written as float16, if there are any.

    Raises:
        UserError: The disk refuses.
    """
    arrays = {"names": np.array(names, dtype=np.str_), "w_plus": w_plus.detach().float().cpu().numpy()}
    if features is not None:
        arrays["features"] = features.detach().half().cpu().numpy()
    with writing(path), atomic_file(path, durable=False) as file:
        np.savez(file, **arrays)


def load_codes(path: str | os.PathLike, num_ws: int, w_dim: int) -> tuple[list[str], Tensor, Tensor | None]:
    """Read codes for a generator of these sizes; nothing in the file is executed.

    Returns:
        names, w_plus [N, num_ws, w_dim], and features [N, C, r, r] or None, in float32.

    Raises:
        UserError: There is no such file, or it holds something else or codes of another generator.
    """
    with reading(path, "a file of codes (names and w_plus)"):
        stored = read_arrays(path, ("names", "w_plus", "features"))
        names, w_plus, features = _names(stored["names"]), stored["w_plus"], stored.get("features")
    if w_plus.ndim != 3 or w_plus.dtype.kind != "f" or len(w_plus) != len(names) or not np.isfinite(w_plus).all():
        raise UserError(f"{str(path)!r} is no file of codes: w_plus is {w_plus.dtype} {list(w_plus.shape)}")
    if w_plus.shape[1:] != (num_ws, w_dim):
        raise UserError(
            f"{str(path)!r} holds codes of {w_plus.shape[1]} rows of {w_plus.shape[2]} numbers, but this generator "
            f"takes {num_ws} of {w_dim}: give the generator that they were found for"
        )
    if features is None:
        return names, torch.from_numpy(w_plus.astype(np.float32)), None
    if (
        features.ndim != 4
        or features.dtype.kind != "f"
        or len(features) != len(names)
        or features.size > MOST_FEATURES * len(names)
        or not np.isfinite(features).all()
    ):
        raise UserError(f"{str(path)!r} is no file of codes: features is {features.dtype} {list(features.shape)}")
    return names, torch.from_numpy(w_plus.astype(np.float32)), torch.from_numpy(features.astype(np.float32))


def _names(array: np.ndarray) -> list[str]:
    """The names of codes. UserError: they are no list of texts, or longer than any name of a file."""
    if array.ndim != 1 or array.dtype.kind != "U" or array.dtype.itemsize > 4 * 16 * LONGEST_NAME:
        raise UserError("it is no file of codes: its names are no list of texts")
    return [str(name) for name in array]
