"""Image files in and out: one guarded reader and one writer, and the few things done to uint8 images.

Inside the library images are float32 [N, C, H, W] in [-1, 1]; uint8 [H, W, C] exists here only.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import (
    BmpImagePlugin,
    Image,
    ImageDraw,
    ImageFile,
    ImageFont,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from torch import Tensor

from stylegan2.runtime.errors import ImageError
from stylegan2.runtime.files import atomic_file, writing

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
JPEG_QUALITY = 95

# The content decides, not the file's name. The classes are called directly because `Image.open` prints a warning about
# large images, and silencing a warning is not thread-safe.
READERS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"II*\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", TiffImagePlugin.TiffImageFile),
    *((b"P%d" % kind, PpmImagePlugin.PpmImageFile) for kind in range(1, 7)),
)

# EXIF tag 274 -> the turn that makes the stored rows and columns upright (Exif 2.3, section 4.6.4).
UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),  # [W, H, ...]
    6: lambda a: a[::-1].swapaxes(0, 1),  # [W, H, ...]
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),  # [W, H, ...]
    8: lambda a: a[:, ::-1].swapaxes(0, 1),  # [W, H, ...]
}


def find_images(folder: str | os.PathLike) -> list[Path]:
    """All image files under `folder` by extension, sorted; hidden files and linked folders are passed over.

    Raises ImageError when `folder`, or a folder in it, cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise ImageError(f"cannot list folder {str(error.filename)!r}: {error.strerror}") from error

    found = []
    for parent, _, names in os.walk(folder, onerror=refuse):
        names = [name for name in names if name.lower().endswith(EXTENSIONS) and not name.startswith(".")]
        found += [Path(parent, name) for name in names]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


# --------------------------------------------------------------------------------------------- reading


def read_image(
    source: str | os.PathLike | bytes | BinaryIO,
    mode: str = "rgb",
    matte: tuple[int, int, int] = (255, 255, 255),
) -> np.ndarray:
    """The upright pixels of an image file: uint8 [H, W, C] with C = 3 ("rgb"), 1 ("gray") or 4 ("rgba").

    `source` is a path, the bytes of a file, or a file opened for reading in binary (such as a member of a zip).
    "rgb" and "gray" lay transparent images over `matte`. 16-bit images are scaled to 8 bits; floating-point images must
    be in [0, 1] or [0, 255]; animations give their first frame. CMYK is converted without a colour profile.
    "labels" gives class indices [H, W]: the indices (not colours) of a palette image, or the values of a gray one.

    Raises ImageError, one sentence with the file's name and the reason, for anything that is not a complete PNG, JPEG,
    WEBP, BMP, TIFF or PPM image of at most MAX_FILE_BYTES and MAX_PIXELS (checked before the pixels are decoded).
    """
    if mode not in ("rgb", "gray", "rgba", "labels"):
        raise ValueError(f"mode must be rgb, gray, rgba or labels, not {mode!r}")
    try:
        image = _open(_read_bytes(source))
        image.load()
        pixels = _labels(image) if mode == "labels" else _colours(image, mode, matte)
        return np.ascontiguousarray(UPRIGHT.get(_orientation(image), lambda a: a)(pixels))
    except Exception as error:  # decoders raise a dozen kinds of exception on damaged files
        raise ImageError(f"{_name(source)} cannot be read as an image: {_reason(error)}") from error


def _name(source: object) -> str:
    if isinstance(source, str | os.PathLike):
        return repr(os.fsdecode(source))
    return repr(str(getattr(source, "name", "image data")))


def _reason(error: Exception) -> str:
    if isinstance(error, ImageError):
        return str(error)  # one of the refusals below
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"it is damaged or incomplete ({' '.join(str(error).split()) or type(error).__name__})"


def _read_bytes(source: str | os.PathLike | bytes | BinaryIO) -> bytes:
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.is_file():  # opening a pipe or a device could wait for ever
            raise ImageError("it is a folder" if path.is_dir() else "there is no such file")
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    else:
        data = source if isinstance(source, bytes) else source.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"the file is larger than {MAX_FILE_BYTES // 2**20} MB")
    return data


def _open(data: bytes) -> ImageFile.ImageFile:
    """The header only: format and size are known and allowed, no pixel is decoded yet."""
    if not data:
        raise ImageError("the file is empty")
    reader = next((reader for magic, reader in READERS if data.startswith(magic)), None)
    if reader is None:
        raise ImageError(f"it is not a PNG, JPEG, WEBP, BMP, TIFF or PPM file (it begins with {data[:8]!r})")
    image = reader(io.BytesIO(data))
    for width, height in (image.size, getattr(image, "_tile_size", image.size)):  # a TIFF is decoded in tiles
        if width * height > MAX_PIXELS:
            raise ImageError(f"it has {width} x {height} pixels, more than {MAX_PIXELS // 10**6} megapixels")
    if image.format == "PNG" and data[24] == 16 and image.mode == "RGB" and "transparency" in image.info:
        raise ImageError("Pillow cannot tell its transparent colour at 16 bits; save it with an alpha channel")
    return image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation that is still to be undone. Pillow turns TIFF images itself and then drops the tag."""
    try:
        return image.getexif().get(274, 1)
    except Exception:  # damaged EXIF data is no reason to lose the picture
        return 1


def _colours(image: Image.Image, mode: str, matte: tuple[int, int, int]) -> np.ndarray:
    image = _eight_bit(image)
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "RGBA" and mode != "rgba":
        canvas = Image.new("RGB", image.size, matte)
        canvas.paste(image, mask=image)
        image = canvas
    array = np.asarray(image.convert({"rgb": "RGB", "gray": "L", "rgba": "RGBA"}[mode]))
    return array if array.ndim == 3 else array[:, :, None]  # [H, W, C]


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale what Pillow would clip: modes I;16 (and its byte orders), I and F become L or LA."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)  # [H, W]
    white = _white(image, values)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0:
        values = white - values  # TIFF 6.0, PhotometricInterpretation 0: white is zero
    gray = Image.fromarray(np.rint(values.astype(np.float64) * (255 / white)).astype(np.uint8))
    if "transparency" in image.info:  # the one gray value that a PNG declares transparent
        opaque = np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)
        gray.putalpha(Image.fromarray(opaque))
    return gray


def _white(image: Image.Image, values: np.ndarray) -> float:
    """The value of white in an image of more than 8 bits. ImageError when the format does not settle it."""
    low, high = float(values.min()), float(values.max())  # NaN fails every comparison below
    if image.mode == "F" and low >= 0 and high <= 255:
        return 1.0 if high <= 1 else 255.0
    if image.mode != "F" and low >= 0 and high <= 65535:
        bits = image.tag_v2.get(258, (16,)) if isinstance(image, TiffImagePlugin.TiffImageFile) else (16,)
        return 4095.0 if bits == (12,) else 65535.0
    raise ImageError(f"its values go from {low:g} to {high:g}, where white is unknown; save it with 8 or 16 bits")


def _labels(image: Image.Image) -> np.ndarray:
    if image.format == "JPEG":
        raise ImageError("JPEG blurs class indices into one another; save label maps as PNG")
    values = np.asarray(image)  # [H, W] or [H, W, C]
    if image.mode == "RGB" and (values == values[:, :, :1]).all():
        values = values[:, :, 0]  # [H, W]
    if values.ndim != 2 or image.mode == "F":
        raise ImageError("it is a colour image, not a label map; save one class index per pixel (palette or gray PNG)")
    if values.min() < 0 or values.max() > 255:
        raise ImageError(f"its class indices go up to {values.max()}, beyond 255")
    return values.astype(np.uint8)


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
