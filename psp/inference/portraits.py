"""Faces cut out of photos for an encoder: all of a photo, the largest, or one that is chosen."""

import contextlib
import os
from collections.abc import Sequence

from psp.inference.align import Crop, ffhq_crop
from psp.inference.detect import SEARCH_SIDES, build_detector
from psp.inference.detect import find_faces as detect_faces
from psp.inference.photos import CropReader, PhotoTask, Portrait, Reader, build_reader, read_photos
from psp.inference.sources import Picture, first_face_missing, read_picture
from psp.model import PSp
from stylegan2.runtime.errors import ImageError, UserError

READERS = min(4, os.cpu_count() or 1)  # threads that read and align photos


def find_faces(photo: Picture) -> list[Crop]:
    """Find all faces of a photo: `model.invert(photo, crop=find_faces(photo)[1])` takes the second largest.

    Args:
        photo: A path or a Pillow image of any size.

    Returns:
        Where each lies, the largest first; empty where there is none.

    Raises:
        ImageError: The photo cannot be read.
    """
    crops = []
    for face in detect_faces(read_picture(photo), build_detector("auto", SEARCH_SIDES[-1:])):
        with contextlib.suppress(UserError):  # landmarks of no face fall into one point
            crops.append(ffhq_crop(face.landmarks))
    return crops


def reader_for(model: PSp, sources: PhotoTask, align: bool | Crop, count: int) -> Reader:
    """Return what reads pictures for a model.

    Args:
        model: Whose encoder they are for.
        sources: Says what the encoder reads.
        align: Find the largest face and cut it out, or cut out the one that lies here.
        count: How many pictures there will be.

    Raises:
        UserError: There is a crop, and not one picture.
    """
    encoder, resolution = model.encoder, model.generator.img_resolution
    if not isinstance(align, Crop):
        return build_reader(sources, encoder.input_size, resolution, align, aspect=encoder.aspect)
    if count != 1:
        raise UserError(f"a crop is of one picture, not of {count}")
    return CropReader(sources, max(resolution, encoder.input_size), align, encoder.input_size)


def read_portraits(pictures: Sequence[Picture], reader: Reader) -> list[Portrait]:
    """Read pictures and cut out the face of each.

    Raises:
        UserError: No face was found in one.
        ImageError: One cannot be read.
    """
    portraits = []
    for picture, photo in zip(pictures, read_photos(list(pictures), reader, READERS), strict=True):  # type: ignore[arg-type]
        if photo.status == "unreadable":
            raise ImageError(str(photo.reason))
        if not photo.portraits:
            raise first_face_missing(picture)
        portraits.append(photo.portraits[0])
    return portraits
