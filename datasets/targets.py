"""Pictures that a generator should make again: read, named, and brought to its size."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from psp.inference.names import Names, list_photos
from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError

MODES = {1: "gray", 3: "rgb", 4: "rgba"}


class Targets(NamedTuple):
    """What was read of some files."""

    pictures: dict[str, np.ndarray]
    """{name: uint8 [R, R, C]}"""
    failed: dict[str, str]
    """{name: why its file cannot be read}"""


def read_targets(sources: Sequence[Path], resolution: int, channels: int) -> Targets:
    """Read image files and folders of them, each file once.

    The centre square of an image is taken. Names are those of the files, so that none is another's.

    Raises:
        UserError: A folder is not there or holds no images, or no image file has so many channels.
        ImageError: None of the files can be read; the sentence is about the first.
    """
    if channels not in MODES:
        raise UserError(f"image files have 1, 3 or 4 channels, and this generator's images have {channels}")
    files = list(dict.fromkeys(file for source in sources for file in list_photos(source)))
    names = Names(files, Path(os.path.commonpath([file.absolute().parent for file in files])))
    found, errors = Targets({}, {}), []
    for file in files:
        name = names.of_file[file]
        try:
            found.pictures[name] = _read(file, resolution, channels)
        except ImageError as error:
            found.failed[name] = str(error)
            errors.append(error)
    if not found.pictures:
        raise errors[0]
    return found


def _read(file: Path, resolution: int, channels: int) -> np.ndarray:
    square = images.center_crop_square(images.read_image(file, MODES[channels]))
    return images.resize(square, (resolution, resolution))
