"""Images of a folder or a zip file, cropped to the centre square and resized."""

import warnings
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np

from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError

MODES = {1: "gray", 3: "rgb", 4: "rgba"}
MAX_BAD_FRACTION = 0.01


class ImageFiles:
    """The image files of a folder or zip, by index. UserError: there is no such place, or it holds no images."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        self.names = self._list()
        if not self.names:
            raise UserError(
                f"{self.path} holds no images: give a folder or zip with PNG, JPEG, WEBP, BMP or TIFF files"
            )

    def _list(self) -> list[str]:
        if self.path.is_dir():
            return [str(file) for file in images.find_images(self.path)]
        if not self.path.exists():
            raise UserError(f"there is no folder or zip file {str(self.path)!r}")
        if not zipfile.is_zipfile(self.path):
            raise UserError(f"{self.path} is neither a folder nor a zip file of images")
        with zipfile.ZipFile(self.path) as archive:
            return sorted(name for name in archive.namelist() if _is_image(name))

    def __len__(self) -> int:
        return len(self.names)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_zip": None}  # every worker opens the archive for itself

    def read(self, index: int, mode: str) -> np.ndarray:
        """The pixels of a file, uint8 [H, W, C], or [H, W] of label ids; see `images.read_image`. ImageError."""
        name = self.names[index]
        return images.read_image(name, mode) if self.path.is_dir() else self._read_member(name, mode)

    def _read_member(self, name: str, mode: str) -> np.ndarray:
        if self._zip is None:
            self._zip = zipfile.ZipFile(self.path)
        try:
            member = self._zip.open(name)
        except Exception as error:  # zipfile raises several kinds on damaged or encrypted members
            raise ImageError(f"{name!r} cannot be read: {error}") from error
        with member:
            return images.read_image(member, mode)


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
    """`[index]` gives uint8 [R, R, C]. A file that cannot be read is replaced by the next one and counted."""

    def __init__(self, path: str | Path, resolution: int, channels: int = 3) -> None:
        if channels not in MODES:
            raise UserError(f"images have {' or '.join(map(str, MODES))} channels, not {channels}")
        self.mode, self.resolution = MODES[channels], resolution
        self.files = ImageFiles(path)
        self.left_out = LeftOut(len(self.files), str(self.files.path))

    def __len__(self) -> int:
        return len(self.files)

    @property
    def bad(self) -> set[int]:
        """The indices of the files that could not be read so far."""
        return self.left_out.indices

    def __getitem__(self, index: int) -> np.ndarray:
        for candidate in range(index, index + len(self)):
            try:
                return square(self.files.read(candidate % len(self), self.mode), self.resolution)
            except ImageError as error:
                self.left_out.add(candidate % len(self), error)
        raise UserError(f"no image of {self.files.path} can be read")


def square(image: np.ndarray, resolution: int) -> np.ndarray:
    """The centre square of uint8 [H, W, C], or of label ids [H, W], resized: [R, R, C] or [R, R]."""
    return images.resize(images.center_crop_square(image), (resolution, resolution))


def _is_image(member: str) -> bool:
    """What `find_images` would list, were the zip file unpacked: macOS adds hidden files to its archives."""
    name = PurePosixPath(member).name
    return name.lower().endswith(images.EXTENSIONS) and not name.startswith(".") and not member.endswith("/")
