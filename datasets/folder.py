"""Images of a folder or a zip file, cropped to the centre square and resized."""

import warnings
import zipfile
from pathlib import Path

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
            raise UserError(f"{self.path} holds no images: give a folder or zip with PNG, JPEG, WEBP, BMP or TIFF files")

    def _list(self) -> list[str]:
        if self.path.is_dir():
            return [str(file) for file in images.find_images(self.path)]
        if zipfile.is_zipfile(self.path):
            with zipfile.ZipFile(self.path) as archive:
                return sorted(n for n in archive.namelist() if Path(n).suffix.lower() in images.EXTENSIONS)
        raise UserError(f"{self.path} is neither a folder nor a zip file of images")

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
        source = self.names[index] if self.path.is_dir() else self._member(self.names[index])
        image = images.center_crop_square(images.read_image(source, self.mode))  # [S, S, C]
        return images.resize(image, (self.resolution, self.resolution))  # [R, R, C]

    def _member(self, name: str) -> bytes:
        if self._zip is None:
            self._zip = zipfile.ZipFile(self.path)
        return self._zip.read(name)

    def _count(self, index: int, error: ImageError) -> None:
        if index not in self.bad:
            self.bad.add(index)
            warnings.warn(f"left out: {error}", stacklevel=2)
        if len(self.bad) > max(1, MAX_BAD_FRACTION * len(self)):
            raise UserError(f"{len(self.bad)} of {len(self)} images of {self.path} cannot be read; the last: {error}")
