"""Pictures that a generator should make again: read, named, and brought to its size."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from psp.inference.names import Names, list_photos
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError

MODES = {1: "gray", 3: "rgb", 4: "rgba"}


def read_targets(sources: Sequence[Path], resolution: int, channels: int) -> dict[str, np.ndarray]:
    """Read image files and folders of them, each file once.

    The centre square of an image is taken. Names are those of the files, so that none is another's.

    Returns:
        {name: uint8 [resolution, resolution, channels]}.

    Raises:
        UserError: A folder is not there or holds no images, or no image file has so many channels.
        ImageError: A file cannot be read.
    """
    if channels not in MODES:
        raise UserError(f"image files have 1, 3 or 4 channels, and this generator's images have {channels}")
    files = list(dict.fromkeys(file for source in sources for file in list_photos(source)))
    names = Names(files, Path(os.path.commonpath([file.absolute().parent for file in files])))
    return {names.of_file[file]: _read(file, resolution, channels) for file in files}


def _read(file: Path, resolution: int, channels: int) -> np.ndarray:
    square = images.center_crop_square(images.read_image(file, MODES[channels]))
    return images.resize(square, (resolution, resolution))
