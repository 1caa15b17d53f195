"""Read any image of a camera, phone, browser or scanner as upright sRGB pixels, with guards against hostile files."""

import io
import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from stylegan2.runtime.errors import ImageError
from stylegan2.runtime.image_files import ISO_BRANDS

MAX_FILE_BYTES = 512 * 2**20
MAX_PIXELS = 256_000_000  # today's phones take 200 million
MAX_DECODED_PIXELS = 50_000_000  # a larger photo is halved until it has fewer
BAND_PIXELS = 2**24  # pixels that are halved at a time

# The content decides, not the name of the file. The classes are called directly because `Image.open` warns about large
# images, and silencing a warning is not thread-safe.
READERS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"II*\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", TiffImagePlugin.TiffImageFile),
    (b"II+\0", TiffImagePlugin.TiffImageFile),  # BigTIFF
    (b"MM\0+", TiffImagePlugin.TiffImageFile),
    (b"GIF8", GifImagePlugin.GifImageFile),
    *((b"P%d" % kind, PpmImagePlugin.PpmImageFile) for kind in range(1, 7)),
)
# What files of other kinds are, by their first bytes.
CONVERTIBLE = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "Photoshop",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"\0\0\1\0": "icon",
    b"DDS ": "DDS",
    b"qoif": "QOI",
    b"PF\n": "PFM",
    b"Pf\n": "PFM",
    b"P7\n": "PAM",
    b"<svg": "SVG",
    b"%PDF": "PDF",
}
OTHER_KINDS = {
    **{magic: f"a {name} file: convert it" for magic, name in CONVERTIBLE.items()},
    b"<html": "a web page",
    b"<!DOCTYPE": "a web page",
    b"<!doctype": "a web page",
    b"version https://git-lfs": "a pointer of Git LFS: run `git lfs pull`",
}
KINDS = "PNG, JPEG, WEBP, BMP, TIFF, GIF, AVIF, HEIC or PPM"

# Maps EXIF tag 274 to the turn that makes the stored rows and columns upright (Exif 2.3, section 4.6.4).
UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),  # [W, H, ...]
    6: lambda a: a[::-1].swapaxes(0, 1),  # [W, H, ...]
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),  # [W, H, ...]
    8: lambda a: a[:, ::-1].swapaxes(0, 1),  # [W, H, ...]
}


class ReducedImage(NamedTuple):
    """The pixels of a file, and the factor by which the stored image is larger."""

    pixels: np.ndarray
    """uint8 [H, W, C]"""
    shrunk: float
    """stored pixels per pixel along a side: 1.0 except for photos of more than MAX_DECODED_PIXELS"""


def read_image(
    source: str | os.PathLike | bytes | BinaryIO | io.BufferedIOBase,
    mode: str = "rgb",
    matte: tuple[int, int, int] = (255, 255, 255),
) -> np.ndarray:
    """Read the upright pixels of an image file.

    Colours are converted to sRGB from the file's own colour profile (Display P3, Adobe RGB, CMYK inks). 16-bit images
    are scaled to 8 bits; floating-point images must be in [0, 1] or [0, 255]; of animations the first frame is read.
    Photos of more than MAX_DECODED_PIXELS are halved until they have fewer, a JPEG already while it is decoded.

    Args:
        source: A path, the bytes of a file, or a file opened for reading in binary (such as a member of a zip).
        mode: "rgb", "gray" or "rgba"; for the first two, transparent images are composited over `matte`. "labels" reads
            class indices: the indices (not colours) of a palette image, or the values of a grayscale image.
        matte: sRGB colour, from 0 to 255.

    Returns:
        uint8 [H, W, C] with C = 3 ("rgb"), 1 ("gray") or 4 ("rgba"); [H, W] for "labels".

    Raises:
        ImageError: The file is not a complete PNG, JPEG, WEBP, BMP, TIFF, GIF, AVIF, HEIC or PPM file of at most
            MAX_FILE_BYTES and MAX_PIXELS, checked before the pixels are decoded. HEIC needs the package pillow-heif.
    """
    return read_reduced(source, mode, matte).pixels


def read_reduced(
    source: str | os.PathLike | bytes | BinaryIO | io.BufferedIOBase,
    mode: str = "rgb",
    matte: tuple[int, int, int] = (255, 255, 255),
) -> ReducedImage:
    """Read an image file as `read_image` does, with the factor by which it was reduced, to convert coordinates."""
    if mode not in ("rgb", "gray", "rgba", "labels"):
        raise ValueError(f"mode must be rgb, gray, rgba or labels, not {mode!r}")
    try:
        image = _open(_read_bytes(source))
        width = image.width
        if mode == "labels":
            image.load()
            pixels = _labels(image)
        else:
            pixels = _decode(image, mode, matte)
        upright = np.ascontiguousarray(UPRIGHT.get(_orientation(image), lambda a: a)(pixels))
        return ReducedImage(upright, width / pixels.shape[1])
    except Exception as error:  # decoders raise a dozen kinds of exception on damaged files
        raise ImageError(f"{_name(source)} cannot be read as an image: {_reason(error)}") from error


def shrink_factor(path: str | os.PathLike, pixels: np.ndarray) -> float:
    """Return the factor by which `read_image` reduced a photo of too many pixels, to convert coordinates.

    Args:
        path: The image file.
        pixels: What `read_image` returned for it, [H, W, C].
    """
    longer = max(pixels.shape[:2])
    if 4 * longer**2 < MAX_DECODED_PIXELS:  # halved at least once, its longer side would be larger
        return 1.0
    return max(_open(_read_bytes(path)).size) / longer


def _name(source: object) -> str:
    if isinstance(source, str | os.PathLike):
        return repr(os.fsdecode(source))
    return repr(str(getattr(source, "name", "image data")))


def _reason(error: Exception) -> str:
    if isinstance(error, ImageError):
        return str(error)  # raised by the checks below
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, SyntaxError) and "unknown" in str(error):  # Pillow's "unknown pixel mode"
        return "Pillow does not read this combination of channels and bits: save it with 8 or 16 bits"
    return f"it is damaged or incomplete ({' '.join(str(error).split()) or type(error).__name__})"


def _read_bytes(source: str | os.PathLike | bytes | BinaryIO | io.BufferedIOBase) -> bytes:
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.is_file():  # opening a pipe or a device could block for ever
            other = "it is a pipe or a device" if path.exists() else "there is no such file"
            raise ImageError("it is a folder" if path.is_dir() else other)
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    else:
        data = source if isinstance(source, bytes) else source.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"the file is larger than {MAX_FILE_BYTES // 2**20} MB")
    return data


def _open(data: bytes) -> ImageFile.ImageFile:
    """Open an image without decoding its pixels, and check that its format and size are allowed."""
    if not data:
        raise ImageError("the file is empty")
    reader = _reader_of(data)
    if reader is None:
        kind = next((kind for magic, kind in OTHER_KINDS.items() if data.startswith(magic)), None)
        found = f"begins with {data[:8]!r}" if kind is None else f"is {kind}"
        raise ImageError(f"it is not a {KINDS} file (it {found})")
    image = reader(io.BytesIO(data))
    for width, height in (image.size, getattr(image, "_tile_size", image.size)):  # a TIFF is decoded in tiles
        if width * height > MAX_PIXELS:
            raise ImageError(f"it has {width} x {height} pixels, more than {MAX_PIXELS // 10**6} megapixels")
    if image.format == "PNG" and data[24] == 16 and image.mode == "RGB" and "transparency" in image.info:
        raise ImageError("Pillow cannot determine its transparent colour at 16 bits: save it with an alpha channel")
    return image


def _reader_of(data: bytes) -> type[ImageFile.ImageFile] | None:
    if data[4:8] == b"ftyp" and data[8:12] in ISO_BRANDS:
        # The first brand of a HEIC or AVIF file may be mif1 or msf1, which both share; further brands follow.
        brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
        return AvifImagePlugin.AvifImageFile if b"avif" in brands or b"avis" in brands else _heif_reader()
    return next((reader for magic, reader in READERS if data.startswith(magic)), None)


def _heif_reader() -> type[ImageFile.ImageFile]:
    try:
        from pillow_heif import HeifImageFile  # an optional dependency, because its libraries have other licences
    except ImportError as error:
        raise ImageError(
            "it is a HEIC file, as many phones write, and reading it needs pillow-heif: pip install pillow-heif"
        ) from error
    return HeifImageFile


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation that has yet to be undone; Pillow turns TIFF images itself and drops the tag."""
    try:
        return image.getexif().get(274, 1)
    except Exception:  # damaged EXIF data must not prevent reading the picture
        return 1


def _decode(image: ImageFile.ImageFile, mode: str, matte: tuple[int, int, int]) -> np.ndarray:
    """Decode an image whose header was read: uint8 [H, W, C], halved until it has at most MAX_DECODED_PIXELS."""
    profile = image.info.get("icc_profile")
    factor = _reduction(image)
    if factor > 1 and image.format == "JPEG":
        image.draft(None, (image.width // factor, image.height // factor))  # the decoder itself skips high frequencies
    image.load()
    decoded = _eight_bit(image)
    if decoded.mode in ("P", "PA"):  # converted once, since Pillow warns where it drops the transparency of a palette
        decoded = decoded.convert("RGBA" if decoded.has_transparency_data else "RGB")
    to_srgb = _transform(profile, decoded.mode)
    factor = _reduction(decoded)
    if factor == 1:
        return _colours(decoded, mode, matte, to_srgb)
    # The image is reduced in bands, because the whole of it may not fit in memory.
    height = max(1, BAND_PIXELS // decoded.width // factor) * factor
    reduced = []
    for top in range(0, decoded.height, height):
        band = decoded.crop((0, top, decoded.width, min(top + height, decoded.height)))
        reduced.append(_reduce(_colours(band, mode, matte, to_srgb), factor))
    return np.concatenate(reduced)  # [ceil(H / factor), ceil(W / factor), C]


def _reduction(image: Image.Image) -> int:
    """Return the power of two by which both sides are divided, so that at most MAX_DECODED_PIXELS remain."""
    factor = 1
    while image.width * image.height > MAX_DECODED_PIXELS * factor**2:
        factor *= 2
    return factor


def _reduce(array: np.ndarray, factor: int) -> np.ndarray:
    """Average squares of `factor` pixels: uint8 [H, W, C] -> [ceil(H / factor), ceil(W / factor), C]."""
    reduced = np.asarray(Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).reduce(factor))
    return reduced if reduced.ndim == 3 else reduced[:, :, None]


def _colours(
    image: Image.Image, mode: str, matte: tuple[int, int, int], to_srgb: ImageCms.ImageCmsTransform | None
) -> np.ndarray:
    """Convert an 8-bit image to uint8 [H, W, C] of sRGB."""
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if to_srgb is not None:
        image = ImageCms.applyTransform(image.convert(to_srgb.input_mode), to_srgb) or image  # None: done in place
    image = image.convert("RGB")
    if alpha is not None and mode == "rgba":
        image.putalpha(alpha)
    elif alpha is not None:
        canvas = Image.new("RGB", image.size, matte)
        canvas.paste(image, mask=alpha)
        image = canvas
    array = np.asarray(image.convert({"rgb": "RGB", "gray": "L", "rgba": "RGBA"}[mode]))
    return array if array.ndim == 3 else array[:, :, None]  # [H, W, C]


def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform to sRGB; None if the profile is missing, is sRGB itself, or does not fit the pixels."""
    if not profile:
        return None
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        about: Any = own.profile  # Pillow declares the type of its argument instead
        stored = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(about.xcolor_space.strip())
        fits = stored == {"L": "L", "LA": "L", "1": "L", "CMYK": "CMYK"}.get(mode, "RGB")
        if stored is None or not fits or "srgb" in (about.profile_description or "").lower():
            return None
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        return ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), stored, "RGB", intent, flags)
    except Exception:  # a damaged profile must not prevent reading the picture
        return None


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale images that Pillow would clip: modes I;16 (in each byte order), I and F become L or LA."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)  # [H, W]
    white = _white(image, values)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0:
        values = white - values  # TIFF 6.0, PhotometricInterpretation 0: white is zero
    gray = Image.fromarray(
        np.concatenate([_scaled(rows, white) for rows in np.array_split(values, len(values) // 1024 + 1)])
    )
    if "transparency" in image.info:  # the one gray value that a PNG declares transparent
        opaque = np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)
        gray.putalpha(Image.fromarray(opaque))
    return gray


def _scaled(values: np.ndarray, white: float) -> np.ndarray:
    return np.rint(values.astype(np.float64) * (255 / white)).astype(np.uint8)


def _white(image: Image.Image, values: np.ndarray) -> float:
    """Return the value of white in an image of more than 8 bits. ImageError: the format does not determine it."""
    low, high = float(values.min()), float(values.max())  # NaN fails every comparison below
    if image.mode == "F" and low >= 0 and high <= 255:
        return 1.0 if high <= 1 else 255.0
    if image.mode != "F" and low >= 0 and high <= 65535:
        bits = image.tag_v2.get(258, (16,)) if isinstance(image, TiffImagePlugin.TiffImageFile) else (16,)
        return 4095.0 if bits == (12,) else 65535.0
    raise ImageError(
        f"its values go from {low:g} to {high:g}, so the value of white is unknown: save it with 8 or 16 bits"
    )


def _labels(image: Image.Image) -> np.ndarray:
    if image.format == "JPEG":
        raise ImageError("JPEG compression changes class indices: save label maps as PNG")
    values = np.asarray(image)  # [H, W] or [H, W, C]
    if image.mode == "RGB" and (values == values[:, :, :1]).all():
        values = values[:, :, 0]  # [H, W]
    if values.ndim != 2 or image.mode == "F":
        raise ImageError("it is a colour image, not a label map: save one class index per pixel (palette or gray PNG)")
    if values.min() < 0 or values.max() > 255:
        raise ImageError(f"its class indices go up to {values.max()}, beyond 255")
    return values.astype(np.uint8)
