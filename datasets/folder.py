"""Images of a folder or a zip file, cropped to the centre square and resized."""

import hashlib
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from datasets.labels import DATASET_JSON, Label, encode_labels, labels_of, roots
from datasets.shards import ShardFiles, is_shards
from stylegan2.runtime.bounded import MOST_TEXT, read_member
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.image_files import inner_name, is_picture_file, list_pictures
from stylegan2.runtime.image_reader import read_image
from stylegan2.runtime.pixels import center_crop_square, resize

MODES = {1: "gray", 3: "rgb", 4: "rgba"}
MAX_BAD_FRACTION = 0.01


class ImageFiles:
    """The pictures of a folder or zip file, or one picture, by index: `runtime.image_files` decides which they are.

    What was found, and what was passed over, is printed by kind where it is not all alike.

    Raises:
        UserError: Nothing is there, or no picture in it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        self._opened_by = 0  # the process
        alone = self.path.is_file() and is_picture_file(self.path)
        self._folder = self.path.parent if alone else self.path if self.path.is_dir() else None  # None for a zip
        if alone:
            self.names = [str(self.path)]
            return
        listing = list_pictures(self.path)
        if not listing.names:
            found = f" ({listing.describe()})" if listing.passed_over else ""
            raise UserError(f"{self.path} holds no images: give a folder or zip with pictures{found}")
        listing.say(self.path)
        self.names = [str(self.path / name) for name in listing.names] if self.path.is_dir() else listing.names

    def __len__(self) -> int:
        return len(self.names)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_zip": None}  # a file cannot be sent to a process

    def keep(self, kept: Sequence[int]) -> None:
        """Leave out all but some of the pictures."""
        self.names = [self.names[index] for index in kept]

    def relative(self, index: int) -> str:
        """Return a file's path below the folder, or in the zip, with "/"."""
        name = self.names[index]
        return inner_name(name) if self._folder is None else Path(name).relative_to(self._folder).as_posix()

    def digest(self) -> str:
        """Name the content: by names, sizes and times of the files, or by names, sizes and checksums in a zip."""
        digest = hashlib.sha256()
        if self._folder is None:
            with zipfile.ZipFile(self.path) as archive:
                for name in self.names:
                    digest.update(f"{name} {archive.getinfo(name).file_size} {archive.getinfo(name).CRC}\n".encode())
        else:
            for index, name in enumerate(self.names):
                state = Path(name).stat()
                digest.update(
                    f"{self.relative(index)} {state.st_size} {state.st_mtime_ns}\n".encode(errors="surrogateescape")
                )
        return digest.hexdigest()[:16]

    def labels(self) -> list[Label | None] | None:
        """Read the label of each file, from dataset.json, else from subfolders; None without either."""
        names = [self.relative(index) for index in range(len(self))]
        root, content = self.dataset_json() or ("", None)
        return labels_of(names, content, str(self.path), root)

    def dataset_json(self) -> tuple[str, bytes] | None:
        """Read dataset.json, beside the images or in the folder of all: (that folder with "/" or "", content)."""
        for root in roots([self.relative(index) for index in range(len(self))]):
            content = self._read_bytes(root + DATASET_JSON)
            if content is not None:
                return root, content
        return None

    def _read_bytes(self, name: str) -> bytes | None:
        """Read a file beside the images; None where there is none."""
        try:
            if self._folder is not None:
                with (self._folder / name).open("rb") as file:
                    return file.read(MOST_TEXT + 1)  # the parser refuses what is longer
            with zipfile.ZipFile(self.path) as archive:
                member = next((member for member in archive.namelist() if inner_name(member) == name), None)
                return None if member is None else read_member(archive, member, MOST_TEXT)
        except FileNotFoundError:
            return None
        except Exception as error:  # a refusal of the disk, or damage in the zip: several kinds
            raise UserError(f"cannot read {name} of {self.path}: {error}") from error

    def read(self, index: int, mode: str) -> np.ndarray:
        """Read the pixels of a file, uint8 [H, W, C], or [H, W] of label ids; see `images.read_image`. ImageError."""
        name = self.names[index]
        return self._read_member(name, mode) if self._folder is None else read_image(name, mode)

    def _read_member(self, name: str, mode: str) -> np.ndarray:
        if self._zip is None or self._opened_by != os.getpid():
            # A forked worker must not read through its parent's file: all would move one position in it.
            self._zip, self._opened_by = zipfile.ZipFile(self.path), os.getpid()
        try:
            member = self._zip.open(name)
        except Exception as error:  # zipfile raises several kinds on damaged or encrypted members
            raise ImageError(f"{name!r} cannot be read: {error}") from error
        with member:
            return read_image(member, mode)


def open_files(path: str | Path) -> ImageFiles | ShardFiles:
    """Open the pictures of a folder or zip file, or those of shards: paths or URLs that end in .tar."""
    return ShardFiles(path) if is_shards(path) else ImageFiles(path)


class LeftOut:
    """Counts the items that cannot be read: a few are replaced, more end the run with a UserError."""

    def __init__(self, length: int, where: str) -> None:
        self.length, self.where = length, where
        self.indices: set[int] = set()

    def add(self, index: int, error: ImageError) -> None:
        if index not in self.indices:
            self.indices.add(index)
            warnings.warn(f"left out: {error}", stacklevel=3)
        if len(self.indices) > max(1, MAX_BAD_FRACTION * self.length):
            raise UserError(
                f"{len(self.indices)} of {self.length} images of {self.where} cannot be read; the last: {error}"
            )


class ImageFolder:
    """`[index]` gives uint8 [R, R, C].

    A file that cannot be read is counted and replaced by the next one; of its class, once `labels` were asked for.
    A gray file among others is converted, which is said once.
    """

    def __init__(self, path: str | Path, resolution: int, channels: int = 3) -> None:
        if channels not in MODES:
            raise UserError(f"images have {' or '.join(map(str, MODES))} channels, not {channels}")
        self.mode, self.resolution = MODES[channels], resolution
        self.files = open_files(path)
        self.left_out = LeftOut(len(self.files), str(self.files.path))
        self._labels: np.ndarray | None = None
        self._said_gray = False

    def __len__(self) -> int:
        return len(self.files)

    def labels(self) -> np.ndarray | None:
        """Return the label of each image, int64 [len] or float32 [len, K]; None where there are none.

        Images without a label are left out from then on, and their number is said. See `ImageFiles.labels`.
        """
        labels = self.files.labels() if self._labels is None else None
        if labels is not None:
            self._labels, kept = encode_labels(labels, str(self.files.path))
            self.files.keep(kept)
            self.left_out.length = len(kept)
        return self._labels

    def __getitem__(self, index: int) -> np.ndarray:
        for candidate in self._candidates(index):
            try:
                image = square(self.files.read(candidate, self.mode), self.resolution)
            except ImageError as error:
                self.left_out.add(candidate, error)
                continue
            self._say_gray(candidate, image)
            return image
        raise UserError(f"no image of {self.files.path} can be read{'' if self._labels is None else ' for one class'}")

    def _candidates(self, index: int) -> Iterator[int]:
        """Yield the file itself, then those that may stand in for it."""
        for candidate in (*range(index, len(self)), *range(index)):
            if self._labels is None or np.array_equal(self._labels[candidate], self._labels[index]):
                yield candidate

    def _say_gray(self, index: int, image: np.ndarray) -> None:
        if self.mode != "gray" and not self._said_gray and (image[..., :3] == image[..., :1]).all():
            self._said_gray = True
            name = self.files.relative(index)
            warnings.warn(
                f"{name!r} is grayscale: it, and others like it, are used as {self.mode.upper()}", stacklevel=3
            )


def square(image: np.ndarray, resolution: int) -> np.ndarray:
    """Cut out and resize the centre square of uint8 [H, W, C] or of label ids [H, W]: [R, R, C] or [R, R]."""
    return resize(center_crop_square(image), (resolution, resolution))
