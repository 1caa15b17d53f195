"""Photos of a folder, read and aligned ahead of time by threads, in the order of the files."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from torch import Tensor

from psp.inference.align import Crop, align, extract
from psp.inference.detect import SEARCH_SIDES, Detector, Face, build_detector, find_faces
from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.threads import ordered_map

THUMBNAIL = 160  # pixels of the longer side, for the contact sheet


class PhotoTask(Protocol):
    """What inference asks of a task (`datasets.tasks`)."""

    aligns: ClassVar[bool]
    """whether faces can be found in what this task reads"""

    def read_file(self, path: Path) -> np.ndarray:
        """Read a file as uint8 [H, W, C], or as label ids [H, W]."""
        ...

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[Tensor, np.ndarray]:
        """Turn a square picture into the encoder's input [C, S, S] and a picture for people, uint8 [P, P, 3]."""
        ...


@dataclass
class Portrait:
    """One picture for the encoder."""

    source: Tensor
    """float32 [C, S, S], what the encoder gets"""
    picture: np.ndarray
    """uint8 [P, P, 3], the same for people"""
    face: Face | None = None
    crop: Crop | None = None
    region: images.Region | None = None
    """where the file's picture lies in the square that it was padded to"""

    def shown(self, square: np.ndarray) -> np.ndarray:
        """Return of a picture [R, R, C] what shows the file's: all, or without its padding."""
        return square if self.region is None else images.cut_region(square, self.region)


@dataclass
class Photo:
    """One file and what was found in it."""

    file: Path
    status: str
    """ok, no_face, unreadable or failed"""
    reason: str | None = None
    thumbnail: np.ndarray | None = None
    portraits: list[Portrait] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class FaceReader:
    """Read a photo, find its faces and align the largest, or all of them."""

    task: PhotoTask
    """says what the encoder reads of a picture"""
    size: int
    """pixels of an aligned picture's side"""
    detector: Detector
    every_face: bool = False
    input_size: int | None = None
    """side of the encoder's input; by default `size`"""

    def __call__(self, file: Path) -> Photo:
        photo = self.task.read_file(file)  # [H, W, C]
        thumbnail = shrink(photo, THUMBNAIL)
        portraits = self._portraits(photo)
        if not portraits:
            return Photo(file, "no_face", "no face was found", thumbnail)
        return Photo(file, "ok", None, thumbnail, portraits if self.every_face else portraits[:1])

    def _portraits(self, photo: np.ndarray) -> list[Portrait]:
        portraits = []
        for face in find_faces(np.ascontiguousarray(photo[..., :3]), self.detector):
            with contextlib.suppress(UserError):  # landmarks of no face: outside of the picture, or in one point
                picture, crop = align(photo, face.landmarks, self.size)  # [S, S, C]
                source, picture = self.task.read_source(picture, self.input_size or self.size, crop.side)
                portraits.append(Portrait(source, picture, face, crop))
        return portraits


@dataclass(frozen=True)
class AlignedReader:
    """Read a picture and take the middle of it in the shape that the encoder reads, or all of it on a black square."""

    task: PhotoTask
    """says what the encoder reads of a picture"""
    size: int
    """pixels of its side"""
    input_size: int | None = None
    """side of the encoder's input; by default `size`"""
    pads: bool = False
    """whether a picture that is not square is padded"""
    aspect: float = 1.0
    """height over width of what the encoder reads in the middle of the square"""

    def __call__(self, file: Path) -> Photo:
        photo = self.task.read_file(file)  # [H, W, C], or label ids [H, W]
        part = photo if self.pads else images.center_crop(photo, self.aspect)
        square, region = images.pad_square(part) if self.pads or self.aspect != 1.0 else (part, None)  # [P, P, ...]
        picture = images.resize(square, (self.size, self.size))  # [S, S, C] or [S, S]
        source, picture = self.task.read_source(picture, self.input_size or self.size, len(square))
        thumbnail = shrink(picture if photo.ndim == 2 else photo, THUMBNAIL)
        return Photo(file, "ok", None, thumbnail, [Portrait(source, picture, region=region)])


@dataclass(frozen=True)
class CropReader:
    """Read a photo and cut out a face that was found before."""

    task: PhotoTask
    """says what the encoder reads of a picture"""
    size: int
    """pixels of an aligned picture's side"""
    crop: Crop
    input_size: int | None = None
    """side of the encoder's input; by default `size`"""

    def __call__(self, file: Path) -> Photo:
        photo = self.task.read_file(file)  # [H, W, C]
        picture = extract(photo, self.crop, self.size)  # [S, S, C]
        source, picture = self.task.read_source(picture, self.input_size or self.size, self.crop.side)
        return Photo(file, "ok", None, shrink(photo, THUMBNAIL), [Portrait(source, picture, crop=self.crop)])


Reader = FaceReader | AlignedReader | CropReader


def build_reader(
    task: PhotoTask,
    input_size: int,
    size: int,
    aligning: bool,
    detector: str = "auto",
    every_face: bool = False,
    pads: bool = False,
    aspect: float = 1.0,
) -> Reader:
    """Build what reads the sources of an encoder.

    Args:
        task: What the model was trained for.
        input_size: Side of the encoder's input.
        size: Side of the pictures to write.
        aligning: Find faces and align them.
        detector: Name of the face detector; see `psp.inference.detect.find_faces`.
        every_face: Take all faces of a photo, not the largest alone.
        pads: Without alignment, take all of a picture on a black square rather than its middle.
        aspect: Height over width of the middle that the encoder reads.

    Raises:
        UserError: No faces can be found in what the task reads.
    """
    size = max(size, input_size)
    if not aligning:
        return AlignedReader(task, size, input_size, pads, aspect)
    if not task.aligns:
        raise UserError(
            "this model reads label maps, in which no faces can be found: leave out the alignment (no_align)"
        )
    # One face: stop at the first copy of the photo that shows one. All: look for the small ones at once.
    sides = SEARCH_SIDES[-1:] if every_face else SEARCH_SIDES
    return FaceReader(task, size, build_detector(detector, sides), every_face, input_size)


def read_photos(files: Iterable[Path], reader: Reader, workers: int) -> Iterator[Photo]:
    """Yield every file, in order. One that cannot be read becomes a `Photo` that says why."""
    return ordered_map(lambda file: _read(file, reader), files, workers)


def shrink(picture: np.ndarray, side: int) -> np.ndarray:
    """Shrink a picture uint8 [H, W, 3] to a longer side of at most `side`."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    return images.resize(picture, (max(1, round(height * scale)), max(1, round(width * scale))))


def _read(file: Path, reader: Reader) -> Photo:
    start = time.perf_counter()
    try:
        photo = reader(file)
    except ImageError as error:
        photo = Photo(file, "unreadable", str(error))
    except Exception as error:  # whatever is wrong with one photo, the others are done
        photo = Photo(file, "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    photo.seconds = time.perf_counter() - start
    return photo
