"""Reading and aligning the photos of a folder, ahead of time, in threads, and in the order of the files."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from psp.inference.align import Crop, align, extract
from psp.inference.detect import SEARCH_SIDES, Detector, Face, build_detector, find_faces
from psp.inference.sources import PhotoTask
from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.image_reader import shrink_factor
from stylegan2.runtime.work_group import ordered_map

THUMBNAIL = 160  # px, longer side of a picture on the contact sheet


@dataclass
class Portrait:
    """An input of the encoder, with the part of the photo from which it was made."""

    source: Tensor
    """input of the encoder, float32 [C, S, S]"""
    picture: np.ndarray
    """picture of this input to show, uint8 [P, P, 3]"""
    face: Face | None = None
    crop: Crop | None = None
    region: images.Region | None = None
    """position of the original picture in the square to which it was padded; None without padding"""
    shrunk: float = 1.0
    """factor by which the photo was reduced when it was read; face and crop are in pixels of the reduced photo"""

    def shown(self, square: np.ndarray) -> np.ndarray:
        """Cut the padding off a picture [R, R, C], if there is any: [H, W, C]."""
        return square if self.region is None else images.cut_region(square, self.region)


@dataclass
class Photo:
    """A file and the portraits that were found in it."""

    file: Path
    status: str
    """one of ok, no_face, unreadable and failed"""
    reason: str | None = None
    thumbnail: np.ndarray | None = None
    portraits: list[Portrait] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class FaceReader:
    """A reader that finds the faces of a photo and aligns the largest one, or all of them."""

    task: PhotoTask
    """converts pictures to inputs of the encoder"""
    size: int
    """side of an aligned picture in pixels"""
    detector: Detector
    every_face: bool = False
    input_size: int | None = None
    """side of the encoder's input; by default `size`"""

    def __call__(self, file: Path) -> Photo:
        photo = self.task.read_file(file)  # [H, W, C]
        thumbnail = shrink(photo, THUMBNAIL)
        portraits = self._portraits(photo, shrink_factor(file, photo))
        if not portraits:
            return Photo(file, "no_face", "no face was found", thumbnail)
        return Photo(file, "ok", None, thumbnail, portraits if self.every_face else portraits[:1])

    def _portraits(self, photo: np.ndarray, shrunk: float) -> list[Portrait]:
        portraits = []
        for face in find_faces(np.ascontiguousarray(photo[..., :3]), self.detector):
            with contextlib.suppress(UserError):  # a false detection: landmarks outside of the photo, or in one point
                picture, crop = align(photo, face.landmarks, self.size)  # [S, S, C]
                source, picture = self.task.read_source(picture, self.input_size or self.size, crop.side)
                portraits.append(Portrait(torch.as_tensor(source), picture, face, crop, shrunk=shrunk))
        return portraits


@dataclass(frozen=True)
class AlignedReader:
    """A reader that takes the middle part of a picture, or the whole picture on a black square, without alignment."""

    task: PhotoTask
    """converts pictures to inputs of the encoder"""
    size: int
    """side of the resulting picture in pixels"""
    input_size: int | None = None
    """side of the encoder's input; by default `size`"""
    pads: bool = False
    """whether a picture that is not square is padded"""
    aspect: float = 1.0
    """height over width of the middle part of the square that the encoder reads"""

    def __call__(self, file: Path) -> Photo:
        photo = self.task.read_file(file)  # [H, W, C], or label ids [H, W]
        part = photo if self.pads else images.center_crop(photo, self.aspect)
        square, region = images.pad_square(part) if self.pads or self.aspect != 1.0 else (part, None)  # [P, P, ...]
        picture = images.resize(square, (self.size, self.size))  # [S, S, C] or [S, S]
        source, picture = self.task.read_source(picture, self.input_size or self.size, len(square))
        thumbnail = shrink(picture if photo.ndim == 2 else photo, THUMBNAIL)
        return Photo(file, "ok", None, thumbnail, [Portrait(torch.as_tensor(source), picture, region=region)])


@dataclass(frozen=True)
class CropReader:
    """A reader that takes a face at a given position in a photo."""

    task: PhotoTask
    """converts pictures to inputs of the encoder"""
    size: int
    """side of an aligned picture in pixels"""
    crop: Crop
    input_size: int | None = None
    """side of the encoder's input; by default `size`"""

    def __call__(self, file: Path) -> Photo:
        photo = self.task.read_file(file)  # [H, W, C]
        picture = extract(photo, self.crop, self.size)  # [S, S, C]
        source, picture = self.task.read_source(picture, self.input_size or self.size, self.crop.side)
        return Photo(
            file, "ok", None, shrink(photo, THUMBNAIL), [Portrait(torch.as_tensor(source), picture, crop=self.crop)]
        )


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
    """Build the function that reads a file for an encoder.

    Args:
        task: The task of the model.
        input_size: Side of the encoder's input in pixels.
        size: Side of the output pictures in pixels.
        aligning: Whether to find faces and align them.
        detector: Name of the face detector (see `psp.inference.detect.find_faces`).
        every_face: Take all faces of a photo instead of only the largest.
        pads: Without alignment, put the whole picture on a black square instead of taking its middle part.
        aspect: Height over width of the middle part that the encoder reads.

    Raises:
        UserError: Faces cannot be detected in the sources of this task.
    """
    size = max(size, input_size)
    if not aligning:
        return AlignedReader(task, size, input_size, pads, aspect)
    if not task.aligns:
        raise UserError(
            "this model reads label maps, in which no faces can be found: leave out the alignment (no_align)"
        )
    # For one face, the search stops at the first copy of the photo in which there is one. For all faces, only the
    # largest copy is searched, because small faces are found only there.
    sides = SEARCH_SIDES[-1:] if every_face else SEARCH_SIDES
    return FaceReader(task, size, build_detector(detector, sides), every_face, input_size)


def read_photos(files: Iterable[Path], reader: Reader, workers: int) -> Iterator[Photo]:
    """Read files in threads.

    Args:
        files: Image files.
        reader: The function that reads one file.
        workers: Number of threads.

    Yields:
        One `Photo` per file, in order. If a file cannot be read, its `status` and `reason` say why.
    """
    return ordered_map(lambda file: _read(file, reader), files, workers)


def shrink(picture: np.ndarray, side: int) -> np.ndarray:
    """Reduce a picture, uint8 [H, W, 3], to a longer side of at most `side` pixels."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    return images.resize(picture, (max(1, round(height * scale)), max(1, round(width * scale))))


def _read(file: Path, reader: Reader) -> Photo:
    start = time.perf_counter()
    try:
        photo = reader(file)
    except ImageError as error:
        photo = Photo(file, "unreadable", str(error))
    except Exception as error:  # an error in one photo must not stop the others
        photo = Photo(file, "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    photo.seconds = time.perf_counter() - start
    return photo
