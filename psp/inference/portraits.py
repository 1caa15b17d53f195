"""Cropping faces out of photos for an encoder: all faces of a photo, the largest one, or a chosen one."""

import contextlib
import os
from collections.abc import Sequence

from psp.inference.align import Crop, ffhq_crop
from psp.inference.detect import SEARCH_SIDES, build_detector
from psp.inference.detect import find_faces as detect_faces
from psp.inference.photos import CropReader, Portrait, Reader, build_reader, read_photos
from psp.inference.sources import PhotoTask, Picture, first_face_missing, read_picture
from psp.model import PSp
from stylegan2.runtime.errors import ImageError, UserError

READERS = min(4, os.cpu_count() or 1)  # number of threads that read and align photos


def find_faces(photo: Picture) -> list[Crop]:
    """Find all faces of a photo.

    For example, `model.invert(photo, crop=find_faces(photo)[1])` inverts the second largest face.

    Args:
        photo: A path or a Pillow image of any size.

    Returns:
        The positions of the faces, sorted from the largest to the smallest; an empty list if there are none.

    Raises:
        ImageError: The photo cannot be read.
    """
    crops = []
    for face in detect_faces(read_picture(photo), build_detector("auto", SEARCH_SIDES[-1:])):
        with contextlib.suppress(UserError):  # a false detection, whose landmarks are all in one point
            crops.append(ffhq_crop(face.landmarks))
    return crops


def reader_for(model: PSp, sources: PhotoTask, align: bool | Crop, count: int) -> Reader:
    """Build the function that reads a picture for a model.

    Args:
        model: The model whose encoder gets the pictures.
        sources: The task, which converts pictures to inputs of the encoder.
        align: Whether to find the largest face and align it, or the position of the face to take.
        count: Number of pictures to read.

    Raises:
        UserError: A position is given, but there is not exactly one picture.
    """
    encoder, resolution = model.encoder, model.generator.img_resolution
    if not isinstance(align, Crop):
        return build_reader(sources, encoder.input_size, resolution, align, aspect=encoder.aspect)
    if count != 1:
        raise UserError(f"a crop needs exactly one picture, not {count}")
    return CropReader(sources, max(resolution, encoder.input_size), align, encoder.input_size)


def read_portraits(pictures: Sequence[Picture], reader: Reader) -> list[Portrait]:
    """Read pictures and return one portrait of each.

    Raises:
        UserError: No face was found in a picture.
        ImageError: A picture cannot be read.
    """
    portraits = []
    for picture, photo in zip(pictures, read_photos(list(pictures), reader, READERS), strict=True):  # type: ignore[arg-type]
        if photo.status == "unreadable":
            raise ImageError(str(photo.reason))
        if not photo.portraits:
            raise first_face_missing(picture)
        portraits.append(photo.portraits[0])
    return portraits
