"""Read directions that other projects wrote without executing anything in the files.

    .npy    a vector [w_dim], or rows [K, w_dim]: InterFaceGAN's boundaries (Shen et al. 2019, arXiv 1907.10786)
    .pt     the same as a tensor; {"eigvec": [w_dim, K]}, columns: SeFa's factors as rosinality stores them (Shen and
            Zhou 2020, arXiv 2007.06600); {"comp": [K, w_dim], ...}: GANSpace's components (Härkönen et al. 2020,
            arXiv 2004.02546) as e4e and StyleCLIP store them
    .npz, .pkl  {"lat_comp": [K, 1, w_dim], ...}: GANSpace's components as it stores them

These files say neither for which generator the directions were found nor in which unit their strengths are. Strengths
are counted in standard deviations of W along the direction, as everywhere in this package.
"""

import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.convert.safe import read_numpy_pickle, read_torch
from stylegan2.latents.directions import Directions, build_directions, load_directions
from stylegan2.latents.sampling import random_w
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.bounded import read_array, read_arrays, reading
from stylegan2.runtime.errors import CheckpointError, UserError

SAMPLES = 10_000  # samples of W, from which the unit of strengths and the useful range are measured
MAX_DIRECTIONS = 10_000  # directions in a file
COMPONENTS = ("lat_comp", "comp")  # GANSpace's own name, and the name that other projects use
FACTORS = "eigvec"


def read_directions(path: Path, generator: Generator, rows: Sequence[int] | None = None) -> Directions:
    """Read a file of directions of this package or of another project.

    Args:
        path: One of the files above, a .safetensors file of directions, or the name of directions that come with the
            package.
        generator: The generator whose codes will be moved.
        rows: Rows of w_plus that are moved; by default those that the file names, or all.

    Returns:
        The directions. A single vector is named after its file; several are called FILE0, FILE1, ...

    Raises:
        UserError: There is no such file, or the directions belong to another generator.
        CheckpointError: The file is damaged or holds something else.
    """
    if path.suffix.lower() not in READERS:
        directions, _ = load_directions(path)
        directions.check(generator)
        return directions
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r} of directions")
    try:
        vectors = _vectors(READERS[path.suffix.lower()](path), generator.w_dim)  # [K, w_dim]
    except CheckpointError:
        raise
    except UserError as error:
        raise UserError(f"{str(path)!r}: {error}") from error
    names = [path.stem] if len(vectors) == 1 else [f"{path.stem}{k}" for k in range(len(vectors))]
    usable = vectors.isfinite().all(1) & (vectors.norm(dim=1) > 0)  # [K]
    if not usable.all():
        unusable = [name for name, good in zip(names, usable.tolist(), strict=True) if not good]
        reason = f"direction {unusable[0]} is zero or not finite"
        if len(unusable) == len(names):
            raise UserError(f"{str(path)!r}: {reason}")
        warnings.warn(f"{str(path)!r}: {reason} and is left out ({len(unusable)} of {len(names)})", stacklevel=2)
        names = [name for name in names if name not in unusable]
    vectors = F.normalize(vectors[usable], dim=1)  # [K, w_dim]
    w = random_w(generator, SAMPLES, seed=0)  # [N, w_dim]
    moved = range(generator.num_ws) if rows is None else rows
    return build_directions(generator, names, vectors, moved, w, known=False)


def _vectors(content: object, w_dim: int) -> Tensor:
    """Find vectors [K, w_dim] in the content of a file. UserError: there are none for this generator."""
    if isinstance(content, Mapping):
        if FACTORS in content:
            array = _array(content[FACTORS])
            array = array.T if array.ndim == 2 else array  # [K, w_dim]: SeFa stores columns
        else:
            key = next((name for name in COMPONENTS if name in content), None)
            if key is None:
                raise UserError(f"it contains no directions: neither {' nor '.join((*COMPONENTS, FACTORS))}")
            array = _array(content[key])
    else:
        array = _array(content)
    if array.ndim == 3 and array.shape[1] == 1:
        array = array[:, 0]  # [K, w_dim]
    if array.ndim == 1:
        array = array[None]  # [1, w_dim]
    if array.ndim != 2 or not 1 <= len(array) <= MAX_DIRECTIONS:
        raise UserError(f"directions must be rows [K, w_dim], not an array of shape {list(array.shape)}")
    if array.shape[1] != w_dim:
        raise UserError(
            f"its directions belong to another generator: they have {array.shape[1]} numbers, but w here has {w_dim}"
        )
    with np.errstate(over="ignore"):  # numbers that are too large become infinite, and are not used
        return torch.from_numpy(array.astype(np.float32, order="C"))


def _array(value: object) -> np.ndarray:
    value = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise UserError("its directions are not an array of numbers")
    return value


def _read_numpy(path: Path) -> object:
    with reading(path, "a NumPy file", CheckpointError):
        if zipfile.is_zipfile(path):
            return read_arrays(path, (*COMPONENTS, FACTORS))
        with path.open("rb") as file:
            return read_array(file, path.stat().st_size)


READERS: dict[str, Callable[[Path], object]] = {
    ".npy": _read_numpy,
    ".npz": _read_numpy,
    ".pt": read_torch,
    ".pth": read_torch,
    ".pkl": read_numpy_pickle,
}
