"""What encoders read: photos, line drawings, label maps, and photos with holes.

The tasks of training prepare their sources by these functions too. Each class reads a user's picture for an encoder of
its kind; a picture is a path, the bytes of a file, or a Pillow image.
"""

import colorsys
import io
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter
from torch import Tensor

from psp.inference.photos import PhotoTask
from psp.model import LUMA
from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError

Picture = str | os.PathLike | bytes | Image.Image

PAPER = 230  # a picture of which more than half is brighter than this is a drawing
SIGMA, RATIO = 1.0, 1.6  # of the narrower Gaussian in pixels at 256 px, and the wider one over it (XDoG, section 2)
THRESHOLD, STEEPNESS = 0.013, 50.0  # a contrast of this much begins a line; how soon the line is black
GLARE = 0.1  # added to the brightness that a difference is compared with: lines in the dark count nearly as much
OPAQUE = 192  # from this alpha on a pixel is known, as resampling blurs it
GRAY = 128  # what a hole looks like


def read_picture(picture: Picture, mode: str = "rgb") -> np.ndarray:
    """Read a picture in a mode of `images.read_image`: uint8 [H, W, C], or label ids [H, W].

    Raises:
        ImageError: It cannot be read; the sentence says why.
    """
    if isinstance(picture, Image.Image):
        return images.read_image(as_file(picture), mode)
    return images.read_image(picture, mode)


def as_file(picture: Image.Image) -> bytes:
    """Return the bytes of a file with a Pillow image upright, which the guarded reader converts like any other."""
    upright, file = ImageOps.exif_transpose(picture), io.BytesIO()
    try:
        upright.save(file, "TIFF", icc_profile=picture.info.get("icc_profile"))
    except (OSError, ValueError, KeyError) as error:
        raise ImageError(f"{describe(picture)}, of mode {picture.mode}, cannot be read: {error}") from error
    return file.getvalue()


def sources_of(metadata: Mapping[str, Any], channels: int) -> PhotoTask:
    """Return what reads pictures for an encoder.

    Args:
        metadata: A model's, which may name its task.
        channels: That the encoder reads. They decide where the metadata say nothing: 4 is a photo with a hole, more
            are label maps.
    """
    task = metadata.get("task") or {1: "inversion", 3: "inversion", 4: "inpainting"}.get(channels, "segmentation")
    if task == "segmentation":
        return LabelMaps(channels)
    return {"sketch": Drawings, "inpainting": PhotosWithHoles}.get(task, Photos)()


class Photos:
    """Photos as they are."""

    aligns: ClassVar[bool] = True

    def read_file(self, path: Any) -> np.ndarray:
        """Read a picture: uint8 [H, W, 3]."""
        return read_picture(path)

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[Tensor, np.ndarray]:
        """Prepare what the encoder reads of uint8 [P, P, 3]: [3, S, S] in [-1, 1], and the same for people."""
        return images.to_tensor(images.resize(picture, (size, size))), picture


# ---------------------------------------------------------------------------------------------- drawings


class Drawings(Photos):
    """Drawings as they are, and photos drawn first."""

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[Tensor, np.ndarray]:
        """Prepare [1, S, S] in [0, 1]. A picture on mostly white paper is a drawing; any other is drawn first."""
        resized = images.resize(picture, (size, size))  # [S, S, 3]
        gray = np.rint(resized @ np.array(LUMA)).astype(np.uint8)  # [S, S]
        drawing = gray if np.median(gray) > PAPER else draw(resized)
        return drawing_to_tensor(drawing), np.repeat(drawing[..., None], 3, axis=2)  # the latter [S, S, 3]


def draw(photo: np.ndarray) -> np.ndarray:
    """Draw the lines of a photo uint8 [S, S, 3]: uint8 [S, S], black on white (XDoG, Winnemöller et al. 2012)."""
    gray = photo @ np.array(LUMA, np.float32) / 255  # [S, S]
    sigma = max(SIGMA * len(photo) / 256, 0.5)
    around = gaussian_filter(gray, RATIO * sigma)
    contrast = (gaussian_filter(gray, sigma) - around) / (around + GLARE)  # negative beside something bright
    ink = np.tanh(STEEPNESS * np.maximum(-contrast - THRESHOLD, 0))
    return np.rint(255 * (1 - ink)).astype(np.uint8)


def drawing_to_tensor(drawing: np.ndarray) -> Tensor:
    """Convert uint8 [S, S] to float32 [1, S, S] in [0, 1]."""
    return torch.from_numpy(drawing.astype(np.float32) / 255)[None]


# -------------------------------------------------------------------------------------------- label maps


class LabelMaps:
    """Label ids: a palette image's indices, or a gray image's values.

    Args:
        label_nc: How many labels there are.
    """

    aligns: ClassVar[bool] = False

    def __init__(self, label_nc: int) -> None:
        self.label_nc = label_nc

    def read_file(self, path: Any) -> np.ndarray:
        """Read label ids [H, W]. ImageError: there are others than those of the model."""
        labels = read_picture(path, "labels")  # [H, W]
        if complaint := out_of_range(labels, self.label_nc):
            raise ImageError(f"{describe(path)} {complaint}")
        return labels

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[Tensor, np.ndarray]:
        """Prepare [label_nc, S, S] of 0 and 1, and the labels [P, P] in colours."""
        return one_hot(picture, self.label_nc, size), palette(self.label_nc)[picture]  # the latter [P, P, 3]


def one_hot(labels: np.ndarray, label_nc: int, size: int) -> Tensor:
    """Turn label ids [P, P] into float32 [label_nc, S, S] of 0 and 1; every pixel keeps a label that was there."""
    resized = images.resize(labels, (size, size)).astype(np.int64)  # [S, S]
    return F.one_hot(torch.from_numpy(resized), label_nc).permute(2, 0, 1).float()  # [label_nc, S, S]


def out_of_range(labels: np.ndarray, label_nc: int) -> str | None:
    """Say what is wrong with a label map, as the rest of a sentence, with each label's share; None if it is right."""
    if labels.max() < label_nc:
        return None
    counts = np.bincount(labels.ravel())
    shares = ", ".join(f"{label}: {100 * counts[label] / labels.size:.2g} %" for label in np.flatnonzero(counts))
    return (
        f"has label {labels.max()}, but labels go from 0 to {label_nc - 1} here: give label_nc {labels.max() + 1} if"
        f" it is right, or save ids in place of grays or colours (labels in it: {shares})"
    )


def palette(label_nc: int) -> np.ndarray:
    """Return a colour for each label, uint8 [label_nc, 3]: black, then hues spaced by the golden ratio."""
    colours = [(0.0, 0.0, 0.0)]
    for label in range(1, label_nc):
        value, saturation = (1.0, 0.65) if label % 2 else (0.8, 0.9)
        colours.append(colorsys.hsv_to_rgb(label * 0.6180339887 % 1, saturation, value))
    return np.rint(np.array(colours) * 255).astype(np.uint8)


# ------------------------------------------------------------------------------------- photos with holes


class PhotosWithHoles:
    """Photos that are transparent where they are missing."""

    aligns: ClassVar[bool] = True

    def read_file(self, path: Any) -> np.ndarray:
        """Read a picture: uint8 [H, W, 4]."""
        return read_picture(path, "rgba")

    def read_source(self, picture: np.ndarray, size: int, native_side: float) -> tuple[Tensor, np.ndarray]:
        """Prepare the photo and its mask, [4, S, S], and the photo [P, P, 3] with gray holes."""
        hole = picture[..., 3] < OPAQUE  # [P, P]
        seen = np.where(hole[..., None], np.uint8(GRAY), picture[..., :3])  # [P, P, 3]
        # A pixel of the encoder's input is missing where any part of it is.
        share = Image.fromarray(hole * np.uint8(255)).resize((size, size), Image.Resampling.BILINEAR)
        photo = images.to_tensor(images.resize(seen, (size, size)))  # [3, S, S]
        return masked(photo, np.asarray(share) > 0), seen


def masked(photo: Tensor, hole: np.ndarray) -> Tensor:
    """Mask a photo [3, S, S] by a hole, bool [S, S]: [4, S, S], the last channel 1 where the photo is missing."""
    mask = torch.from_numpy(hole)[None].float()  # [1, S, S]
    return torch.cat([photo * (1 - mask), mask])  # [4, S, S]


def describe(picture: Any) -> str:
    """Return what a message calls a picture."""
    if isinstance(picture, Image.Image):
        return getattr(picture, "filename", "") or f"an image of {picture.width} x {picture.height} pixels"
    return "the image" if isinstance(picture, bytes) else repr(str(picture))


def first_face_missing(picture: Any) -> UserError:
    """Say that no face was found in a picture, and what to do."""
    return UserError(
        f"no face was found in {describe(picture)}: give align=False for a picture that is aligned already, or of "
        "something else than a face"
    )
