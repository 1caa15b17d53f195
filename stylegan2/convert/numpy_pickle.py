"""Read pickles of NumPy arrays in dicts and lists without executing anything that they contain.

A pickle is a program that names functions and calls them. Here it can name four functions of NumPy; classes of this
file that check their arguments are called in their place.
"""

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np

from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.pickle_outline import Outline

LARGEST = 1 << 30  # bytes of a file: more directions than anybody has


def read_numpy_pickle(path: str | os.PathLike) -> object:
    """Return the content of a pickle of arrays, text, numbers and containers.

    Raises:
        CheckpointError: The file is damaged or too large, or names something that such a file does not need.
    """
    try:
        if Path(path).stat().st_size > LARGEST:
            raise CheckpointError(f"{str(path)!r} is larger than the limit for a file of arrays")
        with Path(path).open("rb") as file:
            Outline().follow(file)
            file.seek(0)
            return _arrays(_Unpickler(file, encoding="latin1").load(), {})
    except CheckpointError:
        raise
    except UserError as error:
        raise CheckpointError(f"{str(path)!r}: {error}; nothing in it was executed") from error
    except _RefusedError as error:
        raise CheckpointError(f"{str(path)!r} {error}; nothing in it was executed") from error
    except Exception as error:  # a damaged pickle can fail in any opcode, and in any function that it calls
        raise CheckpointError(f"{str(path)!r} is damaged or not a pickle of arrays ({type(error).__name__})") from error


class _RefusedError(Exception):
    """A pickle that was refused; the message is the predicate of a sentence whose subject is the file."""


class _Array:
    """A placeholder for an array until its data are read."""

    array: np.ndarray

    def __init__(self, *_: object) -> None:
        self.array = np.zeros(0, np.float32)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.array = _filled(data, dtype, shape, "F" if fortran else "C")


class _Type:
    """A placeholder for numpy.dtype that resolves only plain numeric types."""

    def __init__(self, code: object, *_: object) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple) -> None:
        self.order = str(state[1])

    def resolve(self) -> np.dtype:
        dtype = np.dtype(self.code)
        if dtype.kind not in "biuf":
            raise TypeError("an array must contain plain numbers")
        return dtype.newbyteorder(self.order) if self.order in ("<", ">") else dtype


def _filled(data: str | bytes, dtype: _Type, shape: tuple, order: str = "C") -> np.ndarray:
    if isinstance(data, str):
        data = data.encode("latin1")  # as Python 2 wrote it
    array = np.frombuffer(bytes(data), dtype.resolve())  # [numel]
    sizes = tuple(int(size) for size in shape)
    if prod(sizes) != array.size:
        raise ValueError("the size of an array does not match its shape")
    return array.reshape(sizes, order="F" if order == "F" else "C")


def _from_buffer(data: bytes, dtype: _Type, shape: tuple, order: str, *_: object) -> np.ndarray:
    return _filled(data, dtype, shape, order)


def _scalar(dtype: _Type, data: str | bytes) -> float:
    return _filled(data, dtype, (1,))[0].item()


def _latin(text: str, encoding: str) -> bytes:
    """Replace `_codecs.encode`, with which protocol 2 writes bytes."""
    return str(text).encode("latin1")


KNOWN: dict[tuple[str, str], Callable[..., object]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin,
}
for _numpy in ("numpy.core", "numpy._core"):
    KNOWN[f"{_numpy}.multiarray", "_reconstruct"] = _Array
    KNOWN[f"{_numpy}.multiarray", "scalar"] = _scalar
    KNOWN[f"{_numpy}.numeric", "_frombuffer"] = _from_buffer
KNOWN["numpy", "ndarray"], KNOWN["numpy", "dtype"] = _Array, _Type


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., object]:
        if (module, name) not in KNOWN:
            reference = repr(f"{module}.{name}"[:80])
            raise _RefusedError(
                f"was not loaded because it refers to {reference}, which a file of arrays does not need"
            )
        return KNOWN[module, name]


def _arrays(content: object, known: dict[int, object]) -> object:
    """Replace placeholders by arrays in dicts, lists and tuples.

    `known` holds what was replaced already, so that an object which contains itself, or which is in many places, is
    visited once.
    """
    if isinstance(content, _Array):
        return content.array
    if not isinstance(content, dict | list | tuple):
        return content
    if id(content) not in known:
        known[id(content)] = None
        if isinstance(content, dict):
            known[id(content)] = {key: _arrays(value, known) for key, value in content.items()}
        else:
            known[id(content)] = [_arrays(value, known) for value in content]
    return known[id(content)]
