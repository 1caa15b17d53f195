"""Photos of a folder, read and aligned ahead of time by threads, in the order of the files."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor

from datasets.tasks import Task
from datasets.tasks.inversion import Inversion
from psp.align import Crop, align
from psp.detect import SEARCH_SIDES, Detector, Face, build_detector, find_faces
from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError

THUMBNAIL = 160  # pixels of the longer side, for the contact sheet
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Portrait:
    """One picture for the encoder."""

    source: Tensor
    """float32 [C, S, S], what the encoder gets"""
    picture: np.ndarray
    """uint8 [P, P, 3], the same for people"""
    face: Face | None = None
    crop: Crop | None = None


@dataclass
class Photo:
    """One file and what was found in it."""

    file: Path
    status: str
    """ok, no_face or unreadable"""
    reason: str | None = None
    thumbnail: np.ndarray | None = None
    portraits: list[Portrait] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class FaceReader:
    """Reads a photo, finds its faces and aligns them: the largest, or all of them."""

    size: int
    """pixels of an aligned picture's side"""
    detector: Detector
    every_face: bool = False
    task: Task = field(default_factory=Inversion)
    """says what the encoder reads of a picture"""
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
    """Takes the centre square of a picture as it is."""

    size: int
    """pixels of its side"""
    task: Task = field(default_factory=Inversion)
    """says what the encoder reads of a picture"""
    input_size: int | None = None
    """side of the encoder's input; by default `size`"""

    def __call__(self, file: Path) -> Photo:
        photo = self.task.read_file(file)  # [H, W, C], or label ids [H, W]
        square = images.center_crop_square(photo)
        picture = images.resize(square, (self.size, self.size))  # [S, S, C] or [S, S]
        source, picture = self.task.read_source(picture, self.input_size or self.size, len(square))
        thumbnail = shrink(picture if photo.ndim == 2 else photo, THUMBNAIL)
        return Photo(file, "ok", None, thumbnail, [Portrait(source, picture)])


Reader = FaceReader | AlignedReader


def build_reader(
    task: Task, input_size: int, size: int, aligning: bool, detector: str = "auto", every_face: bool = False
) -> Reader:
    """How the sources of an encoder are read.

    Args:
        task: what the model was trained for.
        input_size: side of the encoder's input.
        size: side of the pictures to write.
        aligning: find faces and align them.
        detector, every_face: see `psp.detect.find_faces` and `FaceReader`.
    """
    size = max(size, input_size)
    if not aligning:
        return AlignedReader(size, task, input_size)
    if not task.aligns:
        raise UserError("this model reads label maps, in which no faces can be found: add --no_align")
    # One face: stop at the first copy of the photo that shows one. All: look for the small ones at once.
    sides = SEARCH_SIDES[-1:] if every_face else SEARCH_SIDES
    return FaceReader(size, build_detector(detector, sides), every_face, task, input_size)


def list_photos(source: Path, results: Sequence[Path] = ()) -> list[Path]:
    """The image files of a folder, without those that lie under `results`; or the one image that `source` is."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"there is no folder {str(source)!r}: --data_path names a folder of images")
    own = [os.path.realpath(path) for path in results]
    files = [file for file in images.find_images(source) if not _under(os.path.realpath(file), own)]
    if not files:
        kinds = ", ".join(extension[1:] for extension in images.EXTENSIONS)
        raise UserError(f"the folder {str(source)!r} holds no images ({kinds})")
    return files


def read_photos(files: Sequence[Path], reader: Reader, workers: int) -> Iterator[Photo]:
    """Every file, in order. One that cannot be read is a `Photo` that says why."""
    return ordered_map(lambda file: _read(file, reader), files, workers)


def ordered_map(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """function(item) for each item, in order, by threads that run a few items ahead of the consumer and no further."""
    with ThreadPoolExecutor(workers) as pool:
        remaining, ahead = iter(items), deque()
        try:
            for item in remaining:
                ahead.append(pool.submit(function, item))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def shrink(picture: np.ndarray, side: int) -> np.ndarray:
    """uint8 [H, W, 3] with a longer side of at most `side`."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    return images.resize(picture, (max(1, round(height * scale)), max(1, round(width * scale))))


def _read(file: Path, reader: Reader) -> Photo:
    start = time.perf_counter()
    try:
        photo = reader(file)
    except ImageError as error:
        photo = Photo(file, "unreadable", str(error))
    photo.seconds = time.perf_counter() - start
    return photo


def _under(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)
