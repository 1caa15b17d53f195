"""Images of a folder or a zip file, cropped to the centre square and resized."""

import warnings
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np

from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError

MODES = {1: "gray", 3: "rgb", 4: "rgba"}
MAX_BAD_FRACTION = 0.01


class ImageFolder:
    """`[index]` gives uint8 [R, R, C]. A file that cannot be read is replaced by the next one and counted."""

    def __init__(self, path: str | Path, resolution: int, channels: int = 3) -> None:
        self.path, self.resolution = Path(path), resolution
        if channels not in MODES:
            raise UserError(f"images have {' or '.join(map(str, MODES))} channels, not {channels}")
        self.mode = MODES[channels]
        self._zip: zipfile.ZipFile | None = None
        self.names = self._list()
        self.bad: set[int] = set()
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

    def __getitem__(self, index: int) -> np.ndarray:
        for candidate in range(index, index + len(self)):
            try:
                return self._read(candidate % len(self))
            except ImageError as error:
                self._count(candidate % len(self), error)
        raise UserError(f"no image of {self.path} can be read")

    def _read(self, index: int) -> np.ndarray:
        name = self.names[index]
        image = images.read_image(name, self.mode) if self.path.is_dir() else self._read_member(name)  # [H, W, C]
        image = images.center_crop_square(image)  # [S, S, C]
        return images.resize(image, (self.resolution, self.resolution))  # [R, R, C]

    def _read_member(self, name: str) -> np.ndarray:
        if self._zip is None:
            self._zip = zipfile.ZipFile(self.path)
        try:
            member = self._zip.open(name)
        except Exception as error:  # zipfile raises several kinds on damaged or encrypted members
            raise ImageError(f"{name!r} cannot be read: {error}") from error
        with member:
            return images.read_image(member, self.mode)  # [H, W, C]

    def _count(self, index: int, error: ImageError) -> None:
        if index not in self.bad:
            self.bad.add(index)
            warnings.warn(f"left out: {error}", stacklevel=2)
        if len(self.bad) > max(1, MAX_BAD_FRACTION * len(self)):
            raise UserError(f"{len(self.bad)} of {len(self)} images of {self.path} cannot be read; the last: {error}")


def _is_image(member: str) -> bool:
    """What `find_images` would list, were the zip file unpacked: macOS adds hidden files to its archives."""
    name = PurePosixPath(member).name
    return name.lower().endswith(images.EXTENSIONS) and not name.startswith(".") and not member.endswith("/")
