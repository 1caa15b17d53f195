"""Procedural faces with exact ground truth, a data set that needs no download.

`SyntheticFaces(resolution)[index]` is a pure function of (seed, index). It provides an endless number of people who do
not exist, with labels, landmarks, pose and attributes. Training uses seed 0, and evaluation uses HELD_OUT_SEED, which
gives other people. This module does not import PyTorch, so that processes that render stay small.
"""

import dataclasses
import io

import numpy as np
from PIL import Image

from datasets.faces.identity import Identity, Nuisance
from datasets.faces.render import Sample, picture
from datasets.faces.render import render as _render
from stylegan2.runtime.errors import UserError

__all__ = ["HELD_OUT_SEED", "Identity", "Nuisance", "Sample", "SyntheticFaces", "render"]

TRAINING_SEED, HELD_OUT_SEED = 0, 1
SYNTHETIC_LENGTH = 50_000  # number of faces that a training repeats; each is rendered once and then read from the cache
RENDERER_VERSION = 3  # part of the key of cached images; increase it whenever the pixels change
MIN_RESOLUTION, MAX_RESOLUTION = 32, 512


def _check_resolution(resolution):
    if not isinstance(resolution, int | np.integer) or not MIN_RESOLUTION <= resolution <= MAX_RESOLUTION:
        raise UserError(
            f"procedural faces are rendered at {MIN_RESOLUTION} to {MAX_RESOLUTION} pixels, not {resolution!r}"
        )


def render(identity: Identity, nuisance: Nuisance, resolution: int) -> Sample:
    """Render one face.

    Args:
        identity: The person.
        nuisance: Pose, expression, light and background.
        resolution: Side of the image in pixels, from 32 to 512.

    Raises:
        UserError: The resolution is not supported.
    """
    _check_resolution(resolution)
    return _render(identity, nuisance, resolution)


class SyntheticFaces:
    """An endless indexable set of rendered faces: `faces[i]` is a `Sample`, the same on every machine.

    Args:
        resolution: Side of the images in pixels, from 32 to 512.
        seed: Seed of the faces; another seed gives other people.
        length: Value of len(), for samplers; every index from 0 is valid.

    Raises:
        UserError: An argument is out of range.
    """

    def __init__(self, resolution: int, seed: int = TRAINING_SEED, length: int = 100_000):
        _check_resolution(resolution)
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise UserError(f"the seed of procedural faces must be a whole number from 0 on, not {seed!r}")
        if not isinstance(length, int | np.integer) or length < 1:
            raise UserError(f"the number of procedural faces must be a whole number from 1 on, not {length!r}")
        self.resolution, self.seed, self.length = int(resolution), int(seed), int(length)

    def __len__(self) -> int:
        return self.length

    def _rng(self, index, stream):
        if not isinstance(index, int | np.integer) or index < 0:
            raise UserError(f"the index of a procedural face must be a whole number from 0 on, not {index!r}")
        return np.random.Generator(np.random.PCG64([self.seed, int(index), stream]))

    def identity(self, index: int) -> Identity:
        """Return the identity of the person at an index; it is drawn independently of the nuisance."""
        return Identity.random(self._rng(index, 0))

    def nuisance(self, index: int) -> Nuisance:
        """Return the pose, expression, light and background at an index."""
        return Nuisance.random(self._rng(index, 1))

    def _draws(self, index: int, overrides: dict[str, object]) -> tuple[Identity, Nuisance]:
        """Return the identity and the nuisance at an index, with some fields replaced by name."""
        identity, nuisance = self.identity(index), self.nuisance(index)
        names = [{f.name for f in dataclasses.fields(part)} for part in (identity, nuisance)]
        unknown = set(overrides) - names[0] - names[1]
        if unknown:
            known = ", ".join(sorted(names[0] | names[1]))
            raise UserError(f"a procedural face has no property {', '.join(sorted(unknown))}: there are {known}")
        of_identity, of_nuisance = ({k: v for k, v in overrides.items() if k in own} for own in names)
        return dataclasses.replace(identity, **of_identity), dataclasses.replace(nuisance, **of_nuisance)

    def sample(self, index: int, **overrides) -> Sample:
        """Render the face at an index with some properties replaced.

        `sample(3, yaw=0.0)`, for example, is the person at index 3, seen from the front.

        Args:
            index: Index of the face, from 0.
            overrides: Fields of `Identity` or `Nuisance` to replace.

        Raises:
            UserError: There is no such property, or the index is negative.
        """
        return _render(*self._draws(index, overrides), self.resolution)

    def image(self, index: int, **overrides) -> np.ndarray:
        """Render only the image, uint8 [R, R, 3], which is faster than `sample`; the arguments are the same."""
        return picture(*self._draws(index, overrides), self.resolution)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)


class SyntheticPixels:
    """Images of procedural faces: `[index]` returns uint8 [R, R, 3].

    Args:
        resolution: Side R of the images in pixels, from 32 to 512.
        seed: Seed of the faces.
    """

    def __init__(self, resolution: int, seed: int = 0) -> None:
        self.faces = SyntheticFaces(resolution, seed=seed)

    def __len__(self) -> int:
        return SYNTHETIC_LENGTH

    def __getitem__(self, index: int) -> np.ndarray:
        return self.faces.image(index)


class EncodedFaces:
    """Procedural faces as PNG files: `[(index, position)]` returns the index and the bytes of the file, uint8 [L]."""

    def __init__(self, faces: SyntheticFaces) -> None:
        self.faces = faces

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        index, _ = key
        return np.array(index), np.frombuffer(encode_png(self.faces.image(index)), np.uint8)


def encode_png(picture: np.ndarray) -> bytes:
    """Encode uint8 [R, R, C] as the bytes of a PNG file."""
    file = io.BytesIO()
    array = picture[..., 0] if picture.shape[2] == 1 else picture
    Image.fromarray(np.ascontiguousarray(array)).save(file, "PNG")
    return file.getvalue()
