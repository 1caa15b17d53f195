"""Reading images that a generator should reproduce, at its resolution."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.folder import MODES, square
from psp.inference.names import Names, list_photos
from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError


class Targets(NamedTuple):
    """The images that were read from files, and the files that could not be read."""

    pictures: dict[str, np.ndarray]
    """{name: uint8 [R, R, C]}"""
    failed: dict[str, str]
    """{name: why the file cannot be read}"""


def read_targets(sources: Sequence[Path], resolution: int, channels: int) -> Targets:
    """Read image files and the files of folders, each file once, and crop them to the centre square.

    Args:
        sources: Image files and folders.
        resolution: Side R of the images in pixels.
        channels: Number of channels C: 1, 3 or 4.

    Returns:
        The images under unique names that are derived from the file names, and the files that cannot be read.

    Raises:
        UserError: A folder does not exist or holds no images, or image files cannot have this number of channels.
        ImageError: None of the files can be read; the message is about the first one.
    """
    if channels not in MODES:
        raise UserError(f"image files have 1, 3 or 4 channels, but this generator's images have {channels}")
    files = list(dict.fromkeys(file for source in sources for file in list_photos(source)))
    names = Names(files, Path(os.path.commonpath([file.absolute().parent for file in files])))
    targets, errors = Targets({}, {}), []
    for file in files:
        name = names.of_file[file]
        try:
            targets.pictures[name] = square(images.read_image(file, MODES[channels]), resolution)
        except ImageError as error:
            targets.failed[name] = str(error)
            errors.append(error)
    if not targets.pictures:
        raise errors[0]
    return targets
