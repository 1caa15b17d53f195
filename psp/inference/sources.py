"""The kinds of pictures that encoders read: photos, line drawings, label maps, and photos with holes.

Each class converts the pictures of a user to inputs of an encoder. A picture is a path, the bytes of a file, or a
Pillow image. The tasks prepare their training data by the same functions, in processes that read ahead: this module
does not import PyTorch, so that they stay small.
"""

import colorsys
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from stylegan2.runtime import image_reader, pixels
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.membrane import fill_hole

if TYPE_CHECKING:
    from stylegan2.runtime.checkpoint import Metadata

Picture = str | os.PathLike | bytes | Image.Image

PAPER = 230  # a picture in which more than half of the pixels are brighter than this is a drawing
SIGMA, RATIO = 1.0, 1.6  # sigma of the narrow Gaussian, in px at 256 px; wide over narrow sigma (XDoG, section 2)
THRESHOLD, STEEPNESS = 0.013, 50.0  # smallest contrast of a line; slope of the ink above it
GLARE = 0.1  # added to the brightness in the denominator of the contrast, to limit the contrast in dark areas
OPAQUE = 192  # smallest alpha of a known pixel; below 255, because resampling blurs alpha
GRAY = 128  # gray level with which holes are shown


class PhotoTask(Protocol):
    """The part of a task (`datasets.tasks`) that inference needs."""

    aligns: ClassVar[bool]
    """whether faces can be detected in the sources of this task"""

    def read_file(self, path: Path) -> np.ndarray:
        """Read a file as uint8 [H, W, C], or as label ids [H, W]."""
        ...

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[np.ndarray, np.ndarray]:
        """Convert a square picture to the input of the encoder.

        Args:
            picture: uint8 [P, P, C], or label ids [P, P].
            size: Side S of the encoder's input in pixels.
            native_side: Side of the picture, in pixels, before it was resized.

        Returns:
            The input of the encoder, float32 [C', S, S], and a picture of it to show, uint8 [P, P, 3].
        """
        ...


def read_picture(picture: Picture, mode: str = "rgb") -> np.ndarray:
    """Read a picture.

    Args:
        picture: A path, the bytes of a file, or a Pillow image.
        mode: One of the modes of `image_reader.read_image`, such as "rgb", "rgba" or "labels".

    Returns:
        uint8 [H, W, C], or label ids [H, W].

    Raises:
        ImageError: The picture cannot be read. The message says why.
    """
    if isinstance(picture, Image.Image):
        return image_reader.read_image(as_file(picture), mode)
    return image_reader.read_image(picture, mode)


def as_file(picture: Image.Image) -> bytes:
    """Encode a Pillow image, upright, as a file, so that it is checked and converted like any file.

    Raises:
        ImageError: Images of this mode cannot be encoded.
    """
    upright, file = ImageOps.exif_transpose(picture), io.BytesIO()
    try:
        upright.save(file, "TIFF", icc_profile=picture.info.get("icc_profile"))
    except (OSError, ValueError, KeyError) as error:
        raise ImageError(f"{picture_name(picture)}, of mode {picture.mode}, cannot be read: {error}") from error
    return file.getvalue()


def sources_of(metadata: "Metadata", channels: int) -> PhotoTask:
    """Return the object that reads pictures for an encoder.

    Args:
        metadata: Metadata of a model, which may name its task.
        channels: Number of channels that the encoder reads. If the metadata do not name a task, 4 channels mean photos
            with holes, and more mean label maps.
    """
    task = metadata.get("task") or {1: "inversion", 3: "inversion", 4: "inpainting"}.get(channels, "segmentation")
    if task == "segmentation":
        return LabelMaps(channels)
    return {"sketch": Drawings, "inpainting": PhotosWithHoles}.get(task, Photos)()


class Photos:
    """Photos, which the encoder reads unchanged."""

    aligns: ClassVar[bool] = True

    def read_file(self, path: Picture) -> np.ndarray:
        """Read a picture as uint8 [H, W, 3]."""
        return read_picture(path)

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[np.ndarray, np.ndarray]:
        """Convert uint8 [P, P, 3] to the encoder's input [3, S, S] in [-1, 1] and a picture to show [P, P, 3]."""
        return pixels.to_planes(pixels.resize(picture, (size, size))), picture


# ---------------------------------------------------------------------------------------------- drawings


class Drawings(Photos):
    """Drawings, which the encoder reads unchanged, and photos, which are converted to drawings."""

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[np.ndarray, np.ndarray]:
        """Convert uint8 [P, P, 3] to the encoder's input [1, S, S] in [0, 1] and a picture to show [S, S, 3].

        A picture that is mostly white is taken as a drawing. Any other picture is converted to a drawing first.
        """
        resized = pixels.resize(picture, (size, size))  # [S, S, 3]
        gray = np.rint(resized @ np.array(pixels.LUMA)).astype(np.uint8)  # [S, S]
        drawing = gray if np.median(gray) > PAPER else draw(resized)
        return drawing_to_plane(drawing), np.repeat(drawing[..., None], 3, axis=2)  # the latter [S, S, 3]


def draw(photo: np.ndarray) -> np.ndarray:
    """Convert a photo, uint8 [S, S, 3], to a black-on-white drawing, uint8 [S, S] (XDoG, Winnemöller et al. 2012)."""
    gray = photo @ np.array(pixels.LUMA, np.float32) / 255  # [S, S]
    sigma = max(SIGMA * len(photo) / 256, 0.5)
    around = gaussian_filter(gray, RATIO * sigma)
    contrast = (gaussian_filter(gray, sigma) - around) / (around + GLARE)  # negative next to brighter areas
    ink = np.tanh(STEEPNESS * np.maximum(-contrast - THRESHOLD, 0))
    return np.rint(255 * (1 - ink)).astype(np.uint8)


def drawing_to_plane(drawing: np.ndarray) -> np.ndarray:
    """Convert a drawing, uint8 [S, S], to float32 [1, S, S] in [0, 1]."""
    return drawing.astype(np.float32)[None] / 255  # [1, S, S]


# -------------------------------------------------------------------------------------------- label maps


class LabelMaps:
    """Label maps, which are the indices of a palette image or the values of a gray image.

    Args:
        label_nc: Number of labels.
    """

    aligns: ClassVar[bool] = False

    def __init__(self, label_nc: int) -> None:
        self.label_nc = label_nc

    def read_file(self, path: Picture) -> np.ndarray:
        """Read label ids [H, W].

        Raises:
            ImageError: The picture cannot be read, or contains labels that the model does not have.
        """
        labels = read_picture(path, "labels")  # [H, W]
        if problem := out_of_range(labels, self.label_nc):
            raise ImageError(f"{picture_name(path)} {problem}")
        return labels

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[np.ndarray, np.ndarray]:
        """Convert label ids [P, P] to the encoder's input [label_nc, S, S] of 0 and 1 and to colours [P, P, 3]."""
        return one_hot(picture, self.label_nc, size), palette(self.label_nc)[picture]  # the latter [P, P, 3]


def one_hot(labels: np.ndarray, label_nc: int, size: int) -> np.ndarray:
    """Convert label ids [P, P] to float32 [label_nc, S, S] of 0 and 1, resized without mixing labels."""
    resized = pixels.resize(labels, (size, size))  # [S, S]
    return (resized == np.arange(label_nc)[:, None, None]).astype(np.float32)  # [label_nc, S, S]


def out_of_range(labels: np.ndarray, label_nc: int) -> str | None:
    """Describe invalid labels of a label map, with the share of each label, as the predicate of a sentence.

    Args:
        labels: Label ids [H, W].
        label_nc: Number of labels.

    Returns:
        The predicate, or None if all labels are valid.
    """
    if labels.max() < label_nc:
        return None
    counts = np.bincount(labels.ravel())
    shares = ", ".join(f"{label}: {100 * counts[label] / labels.size:.2g} %" for label in np.flatnonzero(counts))
    return (
        f"has label {labels.max()}, but labels go from 0 to {label_nc - 1} here: give label_nc "
        f"{labels.max() + 1} if this is right, or save ids instead of grays or colours (labels in it: {shares})"
    )


def palette(label_nc: int) -> np.ndarray:
    """Return a colour for each label, uint8 [label_nc, 3]: black, then hues at intervals of the golden ratio."""
    colours = [(0.0, 0.0, 0.0)]
    for label in range(1, label_nc):
        value, saturation = (1.0, 0.65) if label % 2 else (0.8, 0.9)
        colours.append(colorsys.hsv_to_rgb(label * 0.6180339887 % 1, saturation, value))
    return np.rint(np.array(colours) * 255).astype(np.uint8)


# ------------------------------------------------------------------------------------- photos with holes


class PhotosWithHoles:
    """Photos with transparent holes, which the encoder fills."""

    aligns: ClassVar[bool] = True

    def read_file(self, path: Picture) -> np.ndarray:
        """Read a picture as uint8 [H, W, 4]."""
        return read_picture(path, "rgba")

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[np.ndarray, np.ndarray]:
        """Convert uint8 [P, P, 4] to photo and mask [4, S, S], and to a photo with gray holes to show [P, P, 3]."""
        hole = picture[..., 3] < OPAQUE  # [P, P]
        seen = np.where(hole[..., None], np.uint8(GRAY), picture[..., :3])  # [P, P, 3]
        # A pixel of the encoder's input is missing if any part of it is missing.
        share = Image.fromarray(hole * np.uint8(255)).resize((size, size), Image.Resampling.BILINEAR)
        # Filled before it is resized: no gray gets into the known pixels at the edge, which no training shows.
        photo = pixels.to_planes(pixels.resize(fill_hole(seen, hole), (size, size)))  # [3, S, S]
        return masked(photo, np.asarray(share) > 0), seen


def masked(photo: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Set a photo to 0 in a hole and append the mask.

    Args:
        photo: float32 [3, S, S] in [-1, 1].
        hole: bool [S, S], True where the photo is missing.

    Returns:
        float32 [4, S, S], whose last channel is 1 where the photo is missing and 0 elsewhere.
    """
    mask = hole[None].astype(np.float32)  # [1, S, S]
    return np.concatenate([photo * (1 - mask), mask])  # [4, S, S]


def picture_name(picture: Picture) -> str:
    """Return a name of a picture for messages."""
    if isinstance(picture, Image.Image):
        return getattr(picture, "filename", "") or f"an image of {picture.width} x {picture.height} pixels"
    return "the image" if isinstance(picture, bytes) else repr(str(picture))


def first_face_missing(picture: Picture) -> UserError:
    """Build the error for a picture in which no face was found."""
    return UserError(
        f"no face was found in {picture_name(picture)}: give align=False for a picture that is aligned already, "
        f"or that shows no face"
    )
