"""Images of a folder or zip file, cropped to the centre square and resized."""

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import get_ident
from typing import BinaryIO

import numpy as np

from datasets.cached_labels import read_cached_labels, save_cached_labels
from datasets.index import CACHED_FROM, Index, Names, open_index
from datasets.label_files import Label
from datasets.labels import DATASET_JSON, EncodedLabels, encode_labels, find_labels, roots
from datasets.shards import ShardFiles, is_shards
from stylegan2.runtime.bounded import MAX_TEXT
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.image_files import inner_name, is_picture_file
from stylegan2.runtime.image_reader import read_image
from stylegan2.runtime.pixels import center_crop_square, resize
from stylegan2.runtime.remote import local
from stylegan2.runtime.zip_members import Member, open_member

MODES = {1: "gray", 3: "rgb", 4: "rgba"}
MAX_BAD_FRACTION = 0.01


class ImageFiles:
    """The images of a folder or zip file, or a single image, by index; `runtime.image_files` defines what an image is.

    If not all files are images of one kind, the number of files of each kind is printed, including skipped ones.

    Raises:
        UserError: The path does not exist or holds no images.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._zips: dict[tuple[int, int], BinaryIO] = {}  # by process and thread
        self._kept: np.ndarray | None = None  # [M] positions in the index after `keep`; None: all files
        alone = self.path.is_file() and is_picture_file(self.path)
        self._folder = self.path.parent if alone else self.path if self.path.is_dir() else None  # None for a zip
        if alone:
            self.index = Index(Names.of([self.path.name]), None, {}, "", None)
        else:
            self.index = open_index(self.path)
            if self.index.file_kinds:
                print(f"{self.path}: {self.index.file_kinds}")

    @property
    def names(self) -> list[str]:
        """Return the path of each file, or its name in the zip file."""
        names = self.index.names if self._folder is None else Names(self.index.names.text, self._prefix)
        return list(names) if self._kept is None else [names[index] for index in self._kept.tolist()]

    @property
    def _prefix(self) -> str:
        return str(self._folder / "_")[:-1]  # type: ignore[operator]

    def __len__(self) -> int:
        return len(self.index.names) if self._kept is None else len(self._kept)

    def __del__(self) -> None:
        for file in self.__dict__.get("_zips", {}).values():
            file.close()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_zips": {}}  # an open file cannot be pickled

    def keep(self, indices: Sequence[int] | np.ndarray) -> None:
        """Restrict the collection to some of its files, in the given order."""
        wanted = np.asarray(indices, np.int64)  # [M]
        self._kept = wanted if self._kept is None else self._kept[wanted]

    def _at(self, index: int) -> int:
        return index if self._kept is None else int(self._kept[index])

    def name(self, index: int) -> str:
        """Return the path of a file, or its name in the zip file."""
        name = self.index.names[self._at(index)]
        return name if self._folder is None else self._prefix + name

    def relative(self, index: int) -> str:
        """Return the path of a file relative to the folder or within the zip file, with "/"."""
        name = self.index.names[self._at(index)]
        return inner_name(name) if self._folder is None else name

    def relatives(self) -> list[str]:
        """Return the path of each file relative to the folder or within the zip file, with "/"."""
        names = list(self.index.names)
        names = names if self._kept is None else [names[index] for index in self._kept.tolist()]
        return [inner_name(name) for name in names] if self._folder is None else names

    def _member(self, index: int) -> Member:
        return Member(*self.index.members[self._at(index)].tolist())  # type: ignore[index]

    def digest(self) -> str:
        """Compute a digest of the content, from names, sizes and times of files or checksums of members of a zip."""
        digest = hashlib.sha256()
        for index in range(len(self)):
            if self._folder is None:
                name, member = self.name(index), self._member(index)
                digest.update(f"{name} {member.size} {member.checksum}\n".encode())
            else:
                state = Path(self.name(index)).stat()
                line = f"{self.relative(index)} {state.st_size} {state.st_mtime_ns}\n"
                digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]

    def labels(self) -> list[Label | None] | None:
        """Read the label of each file from dataset.json or, without that file, from subfolders; None without either."""
        root, content = self.dataset_json() or ("", None)
        return find_labels(self.relatives(), content, str(self.path), root)

    def encoded_labels(self) -> EncodedLabels | None:
        """Return the labels in the form in which networks are conditioned on them, or None without labels.

        Labels of large data sets are cached, and are read from the cache as long as the data set has not changed.
        """
        whole = self._kept is None and self.index.fingerprint is not None and len(self) >= CACHED_FROM
        encoded = read_cached_labels(self.path, self.index.fingerprint, len(self)) if whole else None
        if encoded is None:
            location = self.dataset_json()
            root, content = location or ("", None)
            labels = find_labels(self.relatives(), content, str(self.path), root)
            encoded = None if labels is None else encode_labels(labels, str(self.path))
            if whole and encoded is not None:
                save_cached_labels(self.path, self.index.fingerprint, None if location is None else root, encoded)
        return encoded

    def dataset_json(self) -> tuple[str, bytes] | None:
        """Read dataset.json from the folder of the images or a parent folder.

        Returns:
            (that folder with "/" at its end, or "" for the top, content); None without the file.
        """
        for root in roots(self.relatives()):
            content = self._read_bytes(root + DATASET_JSON)
            if content is not None:
                return root, content
        return None

    def _read_bytes(self, name: str) -> bytes | None:
        """Read a file next to the images; None if it does not exist."""
        try:
            if self._folder is not None:
                with (self._folder / name).open("rb") as file:
                    return file.read(MAX_TEXT + 1)  # the parser rejects longer files
            if name not in self.index.labels_files:
                return None
            with open_member(self._opened(), name, self.index.labels_files[name]) as member:
                return member.read(MAX_TEXT + 1)
        except FileNotFoundError:
            return None
        except Exception as error:  # disk errors and damaged zip files raise several kinds
            raise UserError(f"cannot read {name} of {self.path}: {error}") from error

    def read(self, index: int, mode: str) -> np.ndarray:
        """Read an image.

        Args:
            index: Index of the file.
            mode: "gray", "rgb", "rgba" or "labels"; see `images.read_image`.

        Returns:
            uint8 [H, W, C], or label ids [H, W].

        Raises:
            ImageError: The file cannot be read.
        """
        name = self.name(index)
        if self._folder is not None:
            return read_image(name, mode)
        try:
            member = open_member(self._opened(), name, self._member(index))
        except Exception as error:  # zipfile raises several kinds on damaged or encrypted members
            raise ImageError(f"{name!r} cannot be read: {error}") from error
        with member:
            return read_image(member, mode)

    def _opened(self) -> BinaryIO:
        # A file has one position: a forked process would share that of the inherited file, and so would threads.
        reader = (os.getpid(), get_ident())
        if reader not in self._zips:
            self._zips[reader] = open(self.path, "rb")  # noqa: SIM115
        return self._zips[reader]


def open_files(path: str | Path) -> ImageFiles | ShardFiles:
    """Open the images of a folder, a zip file or shards (paths that end in .tar), given as a local path or a URL."""
    return ShardFiles(path) if is_shards(path) else ImageFiles(local(path))


class UnreadableItems:
    """A record of the items that cannot be read: a few of them are tolerated, more than that raise a UserError.

    Args:
        length: Number of items of the data set.
        where: Name of the data set, for messages.
    """

    def __init__(self, length: int, where: str) -> None:
        self.length, self.where = length, where
        self.share = MAX_BAD_FRACTION
        """largest tolerated fraction of the items; one item is always tolerated"""
        self.indices: set[int] = set()
        self.reasons: list[str] = []
        """one sentence per item"""

    def add(self, index: int, error: ImageError) -> None:
        """Record that an item cannot be read, and warn at its first time. UserError: too many items were recorded."""
        if index not in self.indices:
            self.indices.add(index)
            self.reasons.append(str(error))
            warnings.warn(f"left out: {error}", stacklevel=3)
        if len(self.indices) > max(1, self.share * self.length):
            raise UserError(
                f"{len(self.indices)} of {self.length} images of {self.where} cannot be read; the last: {error}"
            )


class ImageFolder:
    """The images of a folder, zip file or shards at one resolution: `[index]` returns uint8 [R, R, C].

    A file that cannot be read is counted and replaced by the next one; once `labels` was called, by the next one of
    the same class. Grayscale files are converted to the other mode, with one warning.

    Args:
        path: The folder, zip file or shards, as a local path or a URL.
        resolution: Side R of the images in pixels.
        channels: Number of channels C: 1 for grayscale, 3 for RGB, 4 for RGBA.

    Raises:
        UserError: There are no images, or the number of channels is another one.
    """

    def __init__(self, path: str | Path, resolution: int, channels: int = 3) -> None:
        if channels not in MODES:
            raise UserError(f"images have {' or '.join(map(str, MODES))} channels, not {channels}")
        self.mode, self.resolution = MODES[channels], resolution
        self.files = open_files(path)
        self.left_out = UnreadableItems(len(self.files), str(self.files.path))
        self._labels: np.ndarray | None = None
        self._said_gray = False

    def __len__(self) -> int:
        return len(self.files)

    def labels(self) -> np.ndarray | None:
        """Return the label of each image, int64 [N] or float32 [N, K]; None if the data set has no labels.

        Images without a label are removed, so that N = len(self) afterwards, and their number is printed. See
        `ImageFiles.labels`.
        """
        encoded = self.files.encoded_labels() if self._labels is None else None
        if encoded is not None:
            self._labels = encoded.values
            self.files.keep(encoded.indices)
            self.left_out.length = len(encoded.indices)
            for sentence in encoded.messages:
                print(sentence)
        return self._labels

    def __getitem__(self, index: int) -> np.ndarray:
        for candidate in self._candidates(index):
            try:
                image = square(self.files.read(candidate, self.mode), self.resolution)
            except ImageError as error:
                self.left_out.add(candidate, error)
                continue
            self._report_gray(candidate, image)
            return image
        raise UserError(f"no image of {self.files.path} can be read{'' if self._labels is None else ' for one class'}")

    def _candidates(self, index: int) -> Iterator[int]:
        """Yield the index of a file, then the indices of the files that may replace it."""
        for candidate in (*range(index, len(self)), *range(index)):
            if self._labels is None or np.array_equal(self._labels[candidate], self._labels[index]):
                yield candidate

    def _report_gray(self, index: int, image: np.ndarray) -> None:
        if self.mode != "gray" and not self._said_gray and (image[..., :3] == image[..., :1]).all():
            self._said_gray = True
            name = self.files.relative(index)
            warnings.warn(
                f"{name!r} is grayscale: it and other grayscale images are converted to {self.mode.upper()}",
                stacklevel=3,
            )


def square(image: np.ndarray, resolution: int) -> np.ndarray:
    """Crop the centre square of uint8 [H, W, C] or label ids [H, W], and resize it to [R, R, C] or [R, R]."""
    return resize(center_crop_square(image), (resolution, resolution))
