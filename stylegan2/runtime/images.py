"""Images as arrays: one writer, and the few things done to uint8 images. The reader is `image_reader.py`.

Inside the library images are float32 [N, C, H, W] in [-1, 1]; uint8 [H, W, C] exists here only.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stylegan2.runtime.errors import ImageError
from stylegan2.runtime.files import atomic_file, writing
from stylegan2.runtime.image_files import EXTENSIONS as EXTENSIONS
from stylegan2.runtime.image_files import find_images as find_images
from stylegan2.runtime.image_reader import read_image as read_image

Region = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture, as shares of its width and height."""
JPEG_QUALITY = 95
LONGEST_TEXT = 400  # letters of a caption: what is longer does not fit beside a picture


# --------------------------------------------------------------------------------------------- writing


def write_image(path: str | os.PathLike, array: np.ndarray) -> None:
    """Write uint8 [H, W, 1 | 3 | 4] or [H, W] as PNG or JPEG (quality 95), as the extension says, atomically.

    The folder is created. Raises ImageError for another extension, transparency in a JPEG, or a disk that refuses.
    """
    extension = Path(path).suffix.lower()
    image_format = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(extension)
    if image_format is None:
        raise ImageError(f"cannot write {str(path)!r}: images are written as .png, .jpg or .jpeg")
    image = _to_pillow(array)
    if image_format == "JPEG" and image.mode == "RGBA":
        raise ImageError(f"cannot write {str(path)!r}: JPEG has no transparency; write a .png")
    options = {"quality": JPEG_QUALITY, "subsampling": 0} if image_format == "JPEG" else {}
    with writing(path, ImageError), atomic_file(path, durable=False) as file:
        image.save(file, image_format, **options)


def to_tensor(array: np.ndarray) -> Tensor:
    """uint8 [H, W, C] -> float32 [C, H, W] in [-1, 1]."""
    planes = np.ascontiguousarray(array.transpose(2, 0, 1), np.float32)  # [C, H, W]
    return torch.from_numpy(planes / 127.5 - 1)


def to_uint8(images: Tensor) -> np.ndarray:
    """float [N, C, H, W] in [-1, 1] -> uint8 [N, H, W, C], clamped and rounded: `to_tensor` undone exactly."""
    images = (images.detach().float() + 1) * 127.5
    return images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()  # [N, H, W, C]


def _to_pillow(array: np.ndarray) -> Image.Image:
    """uint8 [H, W] or [H, W, 1 | 3 | 4]; anything else is a programmer's mistake."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ValueError(f"expected uint8 [H, W] or [H, W, 1 | 3 | 4], not {array.dtype} {list(array.shape)}")
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array))


# -------------------------------------------------------------------------------------- size and layout


def resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, C] -> [*size, C], antialiased (Lanczos). A label map [H, W] takes the nearest: no new class."""
    height, width = size
    if array.shape[:2] == (height, width):
        return array
    method = Image.Resampling.NEAREST if array.ndim == 2 else Image.Resampling.LANCZOS
    resized = np.asarray(_to_pillow(array).resize((width, height), method))
    return resized.reshape(height, width, *array.shape[2:])  # [height, width, C] or [height, width]


def center_crop_square(array: np.ndarray) -> np.ndarray:
    """The largest centred square of [H, W, ...]."""
    height, width = array.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return array[top : top + side, left : left + side]  # [side, side, ...]


def pad_square(array: np.ndarray) -> tuple[np.ndarray, Region]:
    """Lay [H, W, ...] in the middle of a black square: [side, side, ...], and where it lies there."""
    height, width = array.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side, *array.shape[2:]), array.dtype)
    square[top : top + height, left : left + width] = array
    return square, (left / side, top / side, (left + width) / side, (top + height) / side)


def cut_region(array: np.ndarray, region: Region) -> np.ndarray:
    """Cut a region out of [H, W, ...], rounded to whole pixels, of which at least one is left."""
    height, width = array.shape[:2]
    left, top, right, bottom = (round(share * size) for share, size in zip(region, (width, height) * 2, strict=True))
    return array[min(top, height - 1) : max(bottom, top + 1), min(left, width - 1) : max(right, left + 1)]


def grid(images: Tensor, columns: int) -> np.ndarray:
    """float [N, C, H, W] in [-1, 1] -> one uint8 [rows * H, columns * W, C], row by row; cells left over are black."""
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
    """A contact sheet, uint8 [H, W, 3]: `rows` of uint8 images, a title above each column, a caption beside each row.

    Images keep their sizes and are centred in cells as large as the largest. Rows may be shorter than others. Text
    that is wider than its column ends in an ellipsis.
    """
    titles, captions = ([text[:LONGEST_TEXT] for text in texts] for texts in (titles, captions))
    pictures = [[_to_pillow(image).convert("RGBA") for image in row] for row in rows]
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
    """`text`, cut to `width` pixels with an ellipsis when it is longer."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
