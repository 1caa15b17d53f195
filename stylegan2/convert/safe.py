"""Read pickles of other projects without executing anything that they contain.

A pickle is a program that names functions and calls them. Here it can name only what this file lists: containers, and
functions and classes of this file that check their arguments and are called in place of the named ones.
"""

import argparse
import importlib
import io
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stylegan2.runtime.bounded import reading
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.pickle_outline import Outline, check_torch

DAMAGED = "is damaged, or contains more than tensors and settings"
LARGEST_ARRAYS = 1 << 30  # bytes of a file of arrays: more directions than anybody has
Known = Mapping[tuple[str, str], Callable[..., object]]
"""{(module, name): what a pickle gets in its place}"""


def _path(*parts: str) -> str:
    """Join the parts of a path, in place of the classes of pathlib."""
    return "/".join(part for part in parts if isinstance(part, str))


_PATHS = ("PurePath", "PurePosixPath", "PureWindowsPath", "Path", "PosixPath", "WindowsPath")
_multiarray = importlib.import_module("numpy._core.multiarray")
ALLOWED = (
    argparse.Namespace,
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bhilqBHILQefd"},
    *((_multiarray._reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_path, f"{module}.{name}") for module in ("pathlib", "pathlib._local") for name in _PATHS),
)
"""The names that a file of tensors may use besides those that `torch.load` allows, also within arrays of objects."""


def read_torch(path: str | os.PathLike) -> object:
    """Read a file of `torch.save`: tensors, NumPy arrays, containers, numbers, text, paths and argparse.Namespace only.

    Tensors are on the CPU, and paths, which are settings, become text. PyTorch reads the file only after it was found
    to hold what it claims.

    Raises:
        CheckpointError: The file is damaged, refers to anything else, or claims more than it holds.
    """
    name = repr(os.fspath(path))
    try:
        with reading(path, "a PyTorch file", CheckpointError), open(path, "rb") as file:
            check_torch(file)
            file.seek(0)
            with torch.serialization.safe_globals(list(ALLOWED)):
                return torch.load(file, map_location="cpu", weights_only=True)  # of a path, the name would decide
    except CheckpointError as error:
        if isinstance(error.__cause__, pickle.UnpicklingError):
            named = re.search(r"GLOBAL ([\w.]{1,80}) was not an allowed", str(error.__cause__))
            reason = f"contains {named[1]}, which is neither a tensor nor a setting" if named else DAMAGED
            raise CheckpointError(f"{name} {reason}; nothing in it was executed") from error
        raise


class StoredModule(NamedTuple):
    """A module that `torch_utils.persistence` of NVIDIA's projects stored, without its source code.

    `state` is the module's __dict__: `_parameters`, `_buffers`, `_modules`, `_init_kwargs` and plain attributes.
    """

    class_name: str
    state: Metadata


def read_persistence_pickle(path: str | os.PathLike) -> object:
    """Return the object in a pickle of NVIDIA's PyTorch projects, with a StoredModule for each of their modules.

    Raises:
        CheckpointError: The file is damaged, or names something that such a file does not need.
    """
    return _unpickle(path, _names_of_modules(), "a generator")


def read_numpy_pickle(path: str | os.PathLike) -> object:
    """Return the content of a pickle of NumPy arrays, text, numbers and containers.

    Raises:
        CheckpointError: The file is damaged or too large, or names something that such a file does not need.
    """
    if Path(path).stat().st_size > LARGEST_ARRAYS:
        raise CheckpointError(f"{str(path)!r} is larger than the limit for a file of arrays")
    return _arrays(_unpickle(path, _NAMES_OF_ARRAYS, "arrays", encoding="latin1"), {})


def _unpickle(path: str | os.PathLike, known: Known, what: str, encoding: str = "ASCII") -> object:
    try:
        with Path(path).open("rb") as file:
            Outline().follow(file)
            file.seek(0)
            return _Unpickler(file, known, what, encoding).load()
    except UserError as error:
        raise CheckpointError(f"{str(path)!r}: {error}; nothing in it was executed") from error
    except _RefusedError as error:
        raise CheckpointError(f"{str(path)!r} {error}; nothing in it was executed") from error
    except Exception as error:  # a damaged pickle can fail in any opcode, and in any function that it calls
        raise CheckpointError(
            f"{str(path)!r} is damaged, truncated or not the pickle of {what} ({type(error).__name__})"
        ) from error


class _RefusedError(Exception):
    """A pickle that was refused; the message is the predicate of a sentence whose subject is the file."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BufferedReader, known: Known, what: str, encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self.known, self.what = known, what

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        if module.startswith("dnnlib.tflib"):
            raise _RefusedError(
                "is a TensorFlow pickle of the original StyleGAN or StyleGAN2, which is not supported: convert "
                "it to PyTorch with legacy.py of NVIDIA's stylegan2-ada-pytorch"
            )
        if (module, name) not in self.known:
            reference = repr(f"{module}.{name}"[:80])
            raise _RefusedError(
                f"was not loaded because it refers to {reference}, which a file of {self.what} does not need"
            )
        return self.known[module, name]


# ---------------------------------------------------------------------------------------- arrays of NumPy


class _Array:
    """A placeholder for an array until its data are read."""

    array: np.ndarray

    def __init__(self, *_: object) -> None:
        self.array = np.zeros(0, np.float32)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.array = _filled(data, dtype, shape, "F" if fortran else "C")


class _Type:
    """A placeholder for numpy.dtype, whose arguments are text and which resolves only plain numeric types."""

    def __init__(self, code: object, *_: object) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple) -> None:
        self.order = str(state[1])

    def resolve(self) -> np.dtype:
        dtype = np.dtype(self.code)
        if dtype.kind not in "biuf":
            raise TypeError("arrays must contain plain numbers")
        return dtype.newbyteorder(self.order) if self.order in ("<", ">") else dtype


def _filled(data: str | bytes, dtype: _Type, shape: tuple, order: str = "C", *_: object) -> np.ndarray:
    if isinstance(data, str):
        data = data.encode("latin1")  # as Python 2 wrote it
    array = np.frombuffer(bytes(data), dtype.resolve())  # [numel]
    sizes = tuple(int(size) for size in shape)
    if prod(sizes) != array.size:
        raise ValueError("the size of an array does not match its shape")
    return array.reshape(sizes, order="F" if order == "F" else "C")


def _scalar(dtype: _Type, data: str | bytes) -> int | float | bool:
    return _filled(data, dtype, (1,))[0].item()


def _latin(text: str, encoding: str) -> bytes:
    """Replace `_codecs.encode`, with which protocol 2 writes bytes."""
    return str(text).encode("latin1")


_NAMES_OF_ARRAYS: Known = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _filled for core in ("core", "_core")},
}


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


# ------------------------------------------------------------------------------------- modules of NVIDIA


class _IgnoredArray:
    """A placeholder for an array: StyleGAN3's layers have some among their attributes, and nothing here needs them."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _names_of_modules() -> Known:
    """Return all that a pickle may name. Each file gets new functions, so that none can alter those of another."""

    def module(meta: dict[str, object]) -> StoredModule:
        if not isinstance(meta["state"], dict):
            raise TypeError("the state of a module must be a dict")
        return StoredModule(str(meta["class_name"]), meta["state"])

    def storage(data: bytes) -> torch.TypedStorage:
        file = io.BytesIO(data)
        check_torch(file)
        file.seek(0)
        content = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(content, torch.TypedStorage):
            raise TypeError("the data of a tensor must be a storage")
        return content

    def tensor(source: torch.TypedStorage, offset: int, size: tuple, stride: tuple, *_: object) -> Tensor:
        # Checked here and in as_strided: Tensor.set_ would enlarge a storage that is too small.
        flat = torch.empty(0, dtype=source.dtype).set_(source._untyped_storage)  # [numel of the storage]
        if prod(size) > flat.numel():
            raise ValueError("a tensor is larger than its storage")
        return flat.as_strided(size, stride, offset)  # [*size]

    def parameter(data: Tensor, *_: object) -> Tensor:
        return data

    return {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): module,
        ("dnnlib.util", "EasyDict"): dict,
        ("collections", "OrderedDict"): OrderedDict,
        ("builtins", "set"): set,
        ("torch.storage", "_load_from_bytes"): storage,
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): parameter,
        ("numpy", "dtype"): _Type,
        ("numpy", "ndarray"): _IgnoredArray,
        **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
        **{(f"numpy.{core}.multiarray", "_reconstruct"): _IgnoredArray for core in ("core", "_core")},
        **{(f"numpy.{core}.numeric", "_frombuffer"): _IgnoredArray for core in ("core", "_core")},
    }
