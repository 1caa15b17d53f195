"""Write images and animations, and convert images to and from tensors.

`image_reader.py` reads images, and `pixels.py` resizes and crops them.
Inside the library images are float32 [N, C, H, W] in [-1, 1]; only files and pictures for people are uint8 [H, W, C].
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stylegan2.runtime import pixels
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.files import atomic_file, writing
from stylegan2.runtime.image_files import EXTENSIONS as EXTENSIONS
from stylegan2.runtime.image_files import find_images as find_images
from stylegan2.runtime.image_reader import read_image as read_image
from stylegan2.runtime.pixels import Region as Region
from stylegan2.runtime.pixels import center_crop as center_crop
from stylegan2.runtime.pixels import center_crop_square as center_crop_square
from stylegan2.runtime.pixels import cut_region as cut_region
from stylegan2.runtime.pixels import pad_square as pad_square
from stylegan2.runtime.pixels import resize as resize
from stylegan2.runtime.ranges import FASTEST

JPEG_QUALITY = 95
LONGEST_TEXT = 400  # characters of a caption: a longer one does not fit next to a picture
ANIMATION_FORMATS = {".gif": "GIF", ".webp": "WEBP"}
WEBP_QUALITY = 90


# --------------------------------------------------------------------------------------------- writing


def write_image(path: str | os.PathLike, array: np.ndarray) -> None:
    """Write uint8 [H, W, 1 | 3 | 4] or [H, W] as PNG or JPEG (quality 95) by the extension, atomically.

    The folder is created.

    Raises:
        ImageError: The extension is not supported, a JPEG would be transparent, or the file cannot be written.
    """
    extension = Path(path).suffix.lower()
    image_format = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(extension)
    if image_format is None:
        raise ImageError(f"cannot write {str(path)!r}: images are written as .png, .jpg or .jpeg")
    image = pixels.to_pillow(array)
    if image_format == "JPEG" and image.mode == "RGBA":
        raise ImageError(f"cannot write {str(path)!r} as JPEG, which has no transparency: write a .png")
    options = {"quality": JPEG_QUALITY, "subsampling": 0} if image_format == "JPEG" else {}
    with writing(path, ImageError), atomic_file(path, durable=False) as file:
        image.save(file, image_format, **options)


def to_tensor(array: np.ndarray) -> Tensor:
    """Convert uint8 [H, W, C] to float32 [C, H, W] in [-1, 1]."""
    return torch.from_numpy(pixels.to_planes(array))


def to_uint8(images: Tensor) -> np.ndarray:
    """Convert float [N, C, H, W] in [-1, 1] to uint8 [N, H, W, C], clamped and rounded: the inverse of `to_tensor`."""
    images = (images.detach().float() + 1) * 127.5
    return images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()  # [N, H, W, C]


# --------------------------------------------------------------------------------------------- sheets


def grid(images: Tensor, columns: int) -> np.ndarray:
    """Arrange float [N, C, H, W] in [-1, 1] row by row in uint8 [rows * H, columns * W, C]; empty cells are black."""
    tiles = to_uint8(images)  # [N, H, W, C]
    count, height, width, channels = tiles.shape
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:count] = tiles
    cells = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)  # [rows, H, columns, W, C]
    return cells.reshape(rows * height, columns * width, channels)  # [rows * H, columns * W, C]


def labelled_sheet(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str] = (), captions: Sequence[str] = ()
) -> np.ndarray:
    """Draw a contact sheet with a title above each column and a caption beside each row.

    Images keep their sizes and are centred in cells of the size of the largest image. Rows may have different lengths.
    Text that is wider than its column ends in an ellipsis.

    Args:
        rows: Rows of uint8 images [H, W, C].
        titles: One title per column; empty for no titles.
        captions: One caption per row; empty for no captions.

    Returns:
        uint8 [H, W, 3].
    """
    titles, captions = ([text[:LONGEST_TEXT] for text in texts] for texts in (titles, captions))
    pictures = [[pixels.to_pillow(image).convert("RGBA") for image in row] for row in rows]
    flat = [picture for row in pictures for picture in row]
    if not flat:
        raise ValueError("a sheet needs at least one image")
    width, height = max(picture.width for picture in flat), max(picture.height for picture in flat)
    font = ImageFont.load_default(size=max(10, height // 14))
    line = int(font.getbbox("Ág")[3]) + 4
    left = min(2 * width, int(max((font.getlength(text) for text in captions), default=-8)) + 8)
    top = line if titles else 0
    columns = max(len(row) for row in pictures)
    sheet = Image.new("RGB", (left + columns * width, top + len(pictures) * max(height, line)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        text = _fit(title, font, width)
        draw.text((left + (column + 0.5) * width, top / 2), text, fill="black", font=font, anchor="mm")
    for index, row in enumerate(pictures):
        y = top + index * max(height, line)
        if index < len(captions):
            draw.text((4, y + height / 2), _fit(captions[index], font, left), fill="black", font=font, anchor="lm")
        for column, picture in enumerate(row):
            x = left + column * width + (width - picture.width) // 2
            sheet.paste(picture, (x, y + (height - picture.height) // 2), picture)
    return np.array(sheet)


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """Cut a text to `width` pixels with an ellipsis if it is longer."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def write_animation(path: str | os.PathLike, frames: Sequence[np.ndarray], fps: float = 20.0) -> None:
    """Write uint8 frames [H, W, 1 | 3] of one size as an endless loop, atomically. The folder is created.

    A GIF has a palette of 256 colours for each frame, and its frames last whole hundredths of a second.

    Raises:
        UserError: The frame rate is not above 0 and at most 50.
        ImageError: The extension is neither .gif nor .webp, or the file cannot be written.
    """
    kind = ANIMATION_FORMATS.get(Path(path).suffix.lower())
    if kind is None:
        raise ImageError(f"cannot write {str(path)!r}: animations are written as {' or '.join(ANIMATION_FORMATS)}")
    if not 0 < fps <= FASTEST:
        raise UserError(f"an animation must have more than 0 and at most {FASTEST} frames a second, not {fps}")
    pictures = [Image.fromarray(np.squeeze(frame, 2) if frame.shape[2] == 1 else frame) for frame in frames]
    options = {"quality": WEBP_QUALITY} if kind == "WEBP" else {}
    with writing(path, ImageError), atomic_file(path, durable=False) as file:
        pictures[0].save(
            file, kind, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, **options
        )
