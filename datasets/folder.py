"""Images of a folder or a zip file, cropped to the centre square and resized."""

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from datasets.index import KEPT_FROM, Index, Names, open_index
from datasets.kept_labels import keep_labels, read_labels_kept
from datasets.labels import DATASET_JSON, EncodedLabels, Label, encode_labels, labels_of, roots
from datasets.shards import ShardFiles, is_shards
from stylegan2.runtime.bounded import MOST_TEXT
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.image_files import inner_name, is_picture_file
from stylegan2.runtime.image_reader import read_image
from stylegan2.runtime.pixels import center_crop_square, resize
from stylegan2.runtime.remote import local
from stylegan2.runtime.zip_members import Member, open_member

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
        self._zip: BinaryIO | None = None
        self._opened_by = 0  # the process
        self._kept: np.ndarray | None = None  # [M] of the index, once not all are wanted
        alone = self.path.is_file() and is_picture_file(self.path)
        self._folder = self.path.parent if alone else self.path if self.path.is_dir() else None  # None for a zip
        if alone:
            self.index = Index(Names.of([self.path.name]), None, {}, "", None)
        else:
            self.index = open_index(self.path)
            if self.index.unlike:
                print(f"{self.path}: {self.index.unlike}")

    @property
    def names(self) -> list[str]:
        """Return the path of each file, or its name in the zip."""
        names = self.index.names if self._folder is None else Names(self.index.names.text, self._prefix)
        return list(names) if self._kept is None else [names[index] for index in self._kept.tolist()]

    @property
    def _prefix(self) -> str:
        return str(self._folder / "_")[:-1]  # type: ignore[operator]

    def __len__(self) -> int:
        return len(self.index.names) if self._kept is None else len(self._kept)

    def __del__(self) -> None:
        if self.__dict__.get("_zip") is not None:
            self._zip.close()  # type: ignore[union-attr]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_zip": None}  # a file cannot be sent to a process

    def keep(self, indices: Sequence[int] | np.ndarray) -> None:
        """Keep some of the files, in a given order."""
        wanted = np.asarray(indices, np.int64)  # [M]
        self._kept = wanted if self._kept is None else self._kept[wanted]

    def _at(self, index: int) -> int:
        return index if self._kept is None else int(self._kept[index])

    def name(self, index: int) -> str:
        """Return the path of a file, or its name in the zip."""
        name = self.index.names[self._at(index)]
        return name if self._folder is None else self._prefix + name

    def relative(self, index: int) -> str:
        """Return a file's path below the folder, or in the zip, with "/"."""
        name = self.index.names[self._at(index)]
        return inner_name(name) if self._folder is None else name

    def relatives(self) -> list[str]:
        """Return the path of each file below the folder, or in the zip, with "/"."""
        names = list(self.index.names)
        names = names if self._kept is None else [names[index] for index in self._kept.tolist()]
        return [inner_name(name) for name in names] if self._folder is None else names

    def _member(self, index: int) -> Member:
        return Member(*self.index.members[self._at(index)].tolist())  # type: ignore[index]

    def digest(self) -> str:
        """Name the content: by names, sizes and times of the files, or by names, sizes and checksums in a zip."""
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
        """Read the label of each file, from dataset.json, else from subfolders; None without either."""
        root, content = self.dataset_json() or ("", None)
        return labels_of(self.relatives(), content, str(self.path), root)

    def encoded_labels(self) -> EncodedLabels | None:
        """Return the labels as networks are conditioned on them, as they were kept where nothing has changed since."""
        whole = self._kept is None and self.index.fingerprint is not None and len(self) >= KEPT_FROM
        encoded = read_labels_kept(self.path, self.index.fingerprint, len(self)) if whole else None
        if encoded is None:
            found = self.dataset_json()
            root, content = found or ("", None)
            labels = labels_of(self.relatives(), content, str(self.path), root)
            encoded = None if labels is None else encode_labels(labels, str(self.path))
            if whole and encoded is not None:
                keep_labels(self.path, self.index.fingerprint, None if found is None else root, encoded)
        return encoded

    def dataset_json(self) -> tuple[str, bytes] | None:
        """Read dataset.json, beside the images or in the folder of all: (that folder with "/" or "", content)."""
        for root in roots(self.relatives()):
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
            if name not in self.index.labels_files:
                return None
            with open_member(self._opened(), name, self.index.labels_files[name]) as member:
                return member.read(MOST_TEXT + 1)
        except FileNotFoundError:
            return None
        except Exception as error:  # a refusal of the disk, or damage in the zip: several kinds
            raise UserError(f"cannot read {name} of {self.path}: {error}") from error

    def read(self, index: int, mode: str) -> np.ndarray:
        """Read the pixels of a file, uint8 [H, W, C], or [H, W] of label ids; see `images.read_image`. ImageError."""
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
        if self._zip is None or self._opened_by != os.getpid():
            # A forked process must not read through its parent's file: all would move one position in it.
            self._zip, self._opened_by = open(self.path, "rb"), os.getpid()  # noqa: SIM115
        return self._zip


def open_files(path: str | Path) -> ImageFiles | ShardFiles:
    """Open the pictures of a folder, a zip file or shards (whose paths end in .tar), on this machine or by URL."""
    return ShardFiles(path) if is_shards(path) else ImageFiles(local(path))


class LeftOut:
    """Counts the items that cannot be read: a few are replaced, more end the run with a UserError."""

    def __init__(self, length: int, where: str) -> None:
        self.length, self.where = length, where
        self.share = MAX_BAD_FRACTION
        """of the items may be left out, and one in any case"""
        self.indices: set[int] = set()
        self.reasons: list[str] = []
        """a sentence for each"""

    def add(self, index: int, error: ImageError) -> None:
        if index not in self.indices:
            self.indices.add(index)
            self.reasons.append(str(error))
            warnings.warn(f"left out: {error}", stacklevel=3)
        if len(self.indices) > max(1, self.share * self.length):
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
        encoded = self.files.encoded_labels() if self._labels is None else None
        if encoded is not None:
            self._labels = encoded.values
            self.files.keep(encoded.kept)
            self.left_out.length = len(encoded.kept)
            for sentence in encoded.said:
                print(sentence)
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
