"""The guarded reader, against values worked out by hand or by numpy."""

import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from stylegan2.runtime import image_reader
from stylegan2.runtime.errors import ImageError
from stylegan2.runtime.image_files import find_images

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (20, 40, 3), np.uint8)  # [H, W, C], wider than tall, no symmetry


def encode(image: Image.Image | np.ndarray, image_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def refusal(source, **options) -> str:
    """The one sentence of the ImageError, without any warning beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError) as caught:
            image_reader.read_image(source, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def png(width: int, height: int, depth: int, colour: int, data: bytes, extra: bytes = b"") -> bytes:
    """A PNG file by hand, so that any header can be claimed."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def tiff(width: int, height: int, data: bytes, bits: int, photometric: int = 1) -> bytes:
    """A little-endian, uncompressed, one-strip gray TIFF by hand."""
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 277: 1, 278: height, 279: len(data)}
    size = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = sorted({**tags, 273: size}.items())
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", 0) + data


# ---------------------------------------------------------------------------------- formats and turning


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_are_read_exactly(image_format):
    assert np.array_equal(image_reader.read_image(encode(PICTURE, image_format)), PICTURE)
    assert np.array_equal(image_reader.read_image(encode(PICTURE, "WEBP", lossless=True)), PICTURE)


def test_jpeg_is_read_closely():
    smooth = np.stack([np.tile(np.linspace(0, 255, 64), (64, 1))] * 3, 2).astype(np.uint8)
    got = image_reader.read_image(encode(smooth, "JPEG", quality=95))
    assert np.abs(got.astype(int) - smooth).max() <= 4


def store_as(upright: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera stores `upright`, written from the definition: EXIF says where row 0 and column 0 lie."""
    row_of, column_of = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    transposed = row_of in ("left", "right")
    stored = upright.swapaxes(0, 1) if transposed else upright
    rows, columns = ("right", "bottom") if transposed else ("bottom", "right")
    stored = stored[::-1] if row_of == rows else stored
    return stored[:, ::-1] if column_of == columns else stored


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("image_format", "options"),
    [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True}), ("JPEG", {})],
)
def test_exif_orientation_is_undone(orientation, image_format, options):
    upright = np.kron(RNG.integers(0, 2, (2, 4, 1), np.uint8) * 255, np.ones((16, 16, 3), np.uint8))
    upright[:16, :16], upright[-16:, -16:], upright[:16, -16:] = (255, 0, 0), (0, 0, 255), (0, 255, 0)
    exif = Image.Exif()
    exif[274] = orientation
    stored = Image.fromarray(np.ascontiguousarray(store_as(upright, orientation)))
    got = image_reader.read_image(encode(stored, image_format, exif=exif, **options))
    assert got.shape == upright.shape
    assert np.abs(got[8::16, 8::16].astype(int) - upright[8::16, 8::16]).max() < 40


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_orientation_also_turns_labels_and_nonsense_orientation_is_ignored():
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    exif = Image.Exif()
    exif[274] = 6
    assert np.array_equal(image_reader.read_image(encode(labels, exif=exif), mode="labels"), np.rot90(labels, -1))
    exif[274] = 77
    assert np.array_equal(image_reader.read_image(encode(labels, exif=exif), mode="labels"), labels)
    assert np.array_equal(image_reader.read_image(encode(PICTURE, exif=b"Exif\0\0MM\0*rubbish")), PICTURE)


def test_the_content_decides_not_the_name(tmp_path):
    (tmp_path / "jpeg_named.png").write_bytes(encode(PICTURE, "JPEG"))
    (tmp_path / "no_extension").write_bytes(encode(PICTURE))
    assert image_reader.read_image(tmp_path / "jpeg_named.png").shape == (20, 40, 3)
    assert np.array_equal(image_reader.read_image(str(tmp_path / "no_extension")), PICTURE)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF", "GIF", "AVIF"])
def test_an_animation_gives_its_first_frame(image_format):
    options = {"lossless": True} if image_format == "WEBP" else {}
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    assert np.abs(image_reader.read_image(data).astype(int) - (255, 0, 0)).max() <= (image_format == "AVIF")


# ------------------------------------------------------------------------------------------ pixel modes


def test_each_mode_has_its_channels():
    data = encode(PICTURE)
    assert image_reader.read_image(data, "rgba").shape == (20, 40, 4)
    assert (image_reader.read_image(data, "rgba")[:, :, 3] == 255).all()
    luma = PICTURE @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    gray = image_reader.read_image(data, "gray")
    assert gray.shape == (20, 40, 1)
    assert np.abs(gray[:, :, 0] - luma).max() <= 1
    with pytest.raises(ValueError, match="mode must be"):
        image_reader.read_image(data, "bgr")


def test_one_bit_and_gray():
    bits = np.array([[0, 255], [255, 0]], np.uint8)
    assert np.array_equal(image_reader.read_image(encode(Image.fromarray(bits).convert("1")))[:, :, 1], bits)
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for mode, channels in (("rgb", 3), ("gray", 1)):
        assert np.array_equal(image_reader.read_image(encode(gray), mode), np.repeat(gray[:, :, None], channels, 2))


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(image_format):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(values / 257.0).astype(np.uint8)
    assert np.array_equal(image_reader.read_image(encode(values, image_format), "gray")[:, :, 0], expected)
    assert abs(image_reader.read_image(encode(values, image_format)).mean() - 127.5) < 0.01


def test_sixteen_bit_colour_twelve_bits_and_big_endian():
    row = b"\0" + struct.pack(">6H", 0, 32768, 65535, 65535, 257, 128 * 257)  # filter byte, then two pixels
    assert image_reader.read_image(png(2, 1, 16, 2, row)).tolist() == [[[0, 128, 255], [255, 1, 128]]]
    assert image_reader.read_image(tiff(2, 1, bytes([0xFF, 0xF8, 0x00]), bits=12), "gray").ravel().tolist() == [
        255,
        128,
    ]
    big = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 65535, 128 * 257))
    assert image_reader.read_image(encode(big, "TIFF"), "gray").ravel().tolist() == [255, 128]


@pytest.mark.parametrize(("bits", "data"), [(8, b"\0\xff"), (16, b"\0\0\xff\xff")])
def test_a_tiff_where_white_is_zero_is_not_a_negative(bits, data):
    assert image_reader.read_image(tiff(2, 1, data, bits, photometric=0), "gray").ravel().tolist() == [255, 0]
    assert image_reader.read_image(tiff(2, 1, data, bits, photometric=1), "gray").ravel().tolist() == [0, 255]


def test_a_transparent_gray_value_of_sixteen_bits():
    data = png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 1000, 65535), extra=trns(struct.pack(">H", 1000)))
    assert image_reader.read_image(data, "rgba").tolist() == [[[4, 4, 4, 0], [255, 255, 255, 255]]]
    assert image_reader.read_image(data, matte=(1, 2, 3)).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_a_transparent_colour_of_sixteen_bits_is_refused_rather_than_missed():
    data = png(
        1, 1, 16, 2, b"\0" + struct.pack(">3H", 0, 32768, 65535), extra=trns(struct.pack(">3H", 0, 32768, 65535))
    )
    assert "alpha channel" in refusal(data)
    data = png(1, 1, 8, 2, b"\0\1\2\3", extra=trns(struct.pack(">3H", 1, 2, 3)))
    assert image_reader.read_image(data, "rgba").ravel().tolist() == [1, 2, 3, 0]


def trns(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + b"tRNS" + content + struct.pack(">I", zlib.crc32(b"tRNS" + content))


def test_integers_and_floats_of_32_bits():
    integers = Image.fromarray(np.array([[0, 65535]], np.int32))
    assert image_reader.read_image(encode(integers, "TIFF"), "gray").ravel().tolist() == [0, 255]
    unit = np.array([[0, 0.5, 1]], np.float32)
    assert image_reader.read_image(encode(unit, "TIFF"), "gray").ravel().tolist() == [0, 128, 255]
    assert image_reader.read_image(encode(unit * 255, "TIFF"), "gray").ravel().tolist() == [0, 128, 255]
    for bad in (np.array([[0, 65536]], np.int32), np.array([[-1, 5]], np.int32), np.array([[0, 300]], np.float32)):
        assert "white is unknown" in refusal(encode(bad, "TIFF"))
    for bad in (np.nan, np.inf, -0.5):
        assert "white is unknown" in refusal(encode(np.array([[0, bad]], np.float32), "TIFF"))


def test_palette_with_and_without_transparency():
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 255, 0]]], np.uint8)
    assert np.array_equal(image_reader.read_image(encode(image)), colours)
    partly = encode(image, transparency=bytes([0, 255, 255]))
    single = encode(image, transparency=0)
    for data in (partly, single):
        got = image_reader.read_image(data, matte=(10, 20, 30))
        assert got[0, 0].tolist() == [10, 20, 30]
        assert np.array_equal(got[1], colours[1])
        assert image_reader.read_image(data, "rgba")[0, :, 3].tolist() == [0, 255]


def test_transparency_is_laid_over_the_matte():
    pixels = RNG.integers(0, 256, (16, 16, 4), np.uint8)
    matte = (200, 30, 90)
    alpha = pixels[:, :, 3:] / 255
    expected = pixels[:, :, :3] * alpha + np.array(matte) * (1 - alpha)
    for image_format, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        data = encode(pixels, image_format, **options)
        assert np.abs(image_reader.read_image(data, matte=matte) - expected).max() <= 1
        assert np.array_equal(image_reader.read_image(data, "rgba"), pixels)
    hidden = np.zeros((2, 2, 4), np.uint8)
    hidden[:, :, 0] = 255  # red that nobody sees
    assert (image_reader.read_image(encode(hidden)) == 255).all()


def test_gray_with_alpha_and_one_bit_with_a_transparent_value():
    la = np.array([[[100, 255], [100, 0]]], np.uint8)
    data = encode(Image.fromarray(la, "LA"))
    assert image_reader.read_image(data, "gray", matte=(0, 0, 0)).ravel().tolist() == [100, 0]
    assert image_reader.read_image(data)[0, :, 0].tolist() == [100, 255]
    assert image_reader.read_image(data, "rgba")[0, 1, 3] == 0
    one_bit = png(2, 1, 1, 0, b"\0\x40", extra=trns(b"\0\0"))  # pixels 0 and 1, where 0 is transparent
    assert image_reader.read_image(one_bit, matte=(9, 9, 9))[0, :, 0].tolist() == [9, 255]


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(image_format):
    """A JPEG from Photoshop stores inverted CMYK (Adobe marker); ink 0 is white, full black ink is black."""
    inks = {(0, 0, 0, 0): (255, 255, 255), (0, 0, 0, 255): (0, 0, 0), (0, 255, 255, 0): (255, 0, 0)}
    for ink, colour in inks.items():
        got = image_reader.read_image(encode(Image.new("CMYK", (16, 16), ink), image_format))
        assert np.abs(got.astype(int) - colour).max() <= 3
        assert image_reader.read_image(encode(Image.new("CMYK", (16, 16), ink), image_format), "gray").shape == (
            16,
            16,
            1,
        )


@pytest.mark.parametrize(("mode", "white"), [("LAB", (255, 128, 128)), ("YCbCr", (255, 128, 128))])
def test_other_colour_spaces_are_converted(mode, white):
    try:
        Image.open(io.BytesIO(encode(Image.new(mode, (4, 4), white), "TIFF"))).load()
    except OSError as error:
        pytest.skip(f"this Pillow cannot read the {mode} picture that it writes: {error}")
    assert image_reader.read_image(encode(Image.new(mode, (4, 4), white), "TIFF")).min() >= 254
    assert image_reader.read_image(encode(Image.new(mode, (4, 4), (0, 128, 128)), "TIFF"), "gray").max() <= 1


# --------------------------------------------------------------------------------------------- labels


def test_labels_are_indices_not_colours():
    indices = RNG.integers(0, 19, (12, 9), np.uint8)
    palette = Image.fromarray(indices, "P")
    palette.putpalette(list(RNG.integers(0, 256, 57)))
    assert np.array_equal(image_reader.read_image(encode(palette), "labels"), indices)
    assert image_reader.read_image(encode(palette), "labels").dtype == np.uint8
    same = np.repeat(indices[:, :, None], 3, 2)  # what cv2.imwrite makes of a gray image that it read in colour
    for array in (indices, indices.astype(np.uint16), same):
        assert np.array_equal(image_reader.read_image(encode(array), "labels"), indices)
    mask = Image.fromarray((indices > 9).astype(np.uint8) * 255).convert("1")
    assert np.array_equal(image_reader.read_image(encode(mask), "labels"), indices > 9)


def test_what_is_not_a_label_map_is_refused():
    assert "colour image" in refusal(encode(PICTURE), mode="labels")
    assert "colour image" in refusal(encode(np.zeros((4, 4, 4), np.uint8)), mode="labels")
    assert "JPEG" in refusal(encode(np.zeros((8, 8), np.uint8), "JPEG"), mode="labels")
    assert "300" in refusal(encode(np.full((4, 4), 300, np.uint16)), mode="labels")
    assert "colour image" in refusal(encode(np.zeros((4, 4), np.float32), "TIFF"), mode="labels")


# ------------------------------------------------------------------------------------------ hostile files


def test_each_bad_file_gives_its_name_and_the_reason(tmp_path):
    whole = encode(PICTURE)
    cases = {
        "empty.png": (b"", "empty"),
        "text.png": (b"hello, this is text", "not a PNG"),
        "cut.png": (whole[: len(whole) // 2], "damaged or incomplete"),
        "cut.jpg": (encode(PICTURE, "JPEG")[:-200], "truncated"),
        "page.jpg": (b"<!DOCTYPE html>", "a web page"),
        "raw.cr3": (b"\0\0\0\x18ftypcrx \0\0\0\1", "not a PNG"),
        "head.png": (whole[:10], "damaged or incomplete"),
        "riff.webp": (b"RIFF\x04\0\0\0WAVE", "damaged or incomplete"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        sentence = refusal(tmp_path / name)
        assert name in sentence
        assert reason in sentence
    (tmp_path / "folder.png").mkdir()
    assert "folder" in refusal(tmp_path / "folder.png").split(":")[-1]
    assert "no such file" in refusal(tmp_path / "missing.png")
    assert "no such file" in refusal("nul\0byte.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a POSIX thing")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "a pipe or a device" in refusal(tmp_path / "pipe.png")


def test_a_newline_in_a_name_stays_in_one_line(tmp_path):
    path = tmp_path / "two\nlines.png"
    path.write_bytes(b"x")
    assert "two\\nlines.png" in refusal(path)


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (16_000, 16_001),
        (20_000, 20_000),
        (2**31 - 1, 2**31 - 1),
    ],  # above the limit of this package, and of the format
)
def test_a_decompression_bomb_is_refused_from_its_header(width, height):
    sentence = refusal(png(width, height, 8, 0, b"\0" * 1000))
    assert f"{width} x {height}" in sentence
    assert "256 megapixels" in sentence


def test_bombs_of_the_other_formats():
    assert "megapixels" in refusal(b"P5 17000 17000 255\n")
    assert "megapixels" in refusal(tiff(17_000, 17_000, b"\0", 8))
    bitmap = bytearray(encode(PICTURE, "BMP"))
    bitmap[18:26] = struct.pack("<ii", 17_000, 17_000)
    assert "megapixels" in refusal(bytes(bitmap))
    jpeg = bytearray(encode(PICTURE, "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 17_000, 17_000)
    assert "megapixels" in refusal(bytes(jpeg))
    webp = b"WEBPVP8 " + struct.pack("<I", 10) + b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16_000, 16_000)
    refusal(b"RIFF" + struct.pack("<I", len(webp)) + webp)


def test_the_limits_themselves_are_allowed(monkeypatch, tmp_path):
    monkeypatch.setattr(image_reader, "MAX_PIXELS", 800)
    assert image_reader.read_image(encode(PICTURE)).shape == (20, 40, 3)
    monkeypatch.setattr(image_reader, "MAX_PIXELS", 799)
    assert "40 x 20" in refusal(encode(PICTURE))
    monkeypatch.setattr(image_reader, "MAX_PIXELS", 800)
    data = encode(PICTURE)
    (tmp_path / "a.png").write_bytes(data)
    monkeypatch.setattr(image_reader, "MAX_FILE_BYTES", len(data))
    assert image_reader.read_image(tmp_path / "a.png").shape == (20, 40, 3)
    monkeypatch.setattr(image_reader, "MAX_FILE_BYTES", len(data) - 1)
    for source in (tmp_path / "a.png", data, io.BytesIO(data)):
        assert "larger" in refusal(source)


SEEDS = {
    "png": encode(PICTURE),
    "palette": encode(Image.fromarray(PICTURE).quantize(7)),
    "jpeg": encode(PICTURE, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    "webp": encode(PICTURE, "WEBP"),
    "bmp": encode(PICTURE, "BMP"),
    "tiff": encode(PICTURE, "TIFF", compression="tiff_lzw"),
    "raw tiff": encode(PICTURE, "TIFF"),
    "ppm": encode(PICTURE, "PPM"),
}


def pixels_or_sentence(data: bytes, mode: str = "rgb") -> np.ndarray | str:
    """Any exception but ImageError fails the test."""
    try:
        return image_reader.read_image(data, mode)
    except ImageError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(sorted(SEEDS)),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
    mode=st.sampled_from(["rgb", "gray", "rgba", "labels"]),
)
def test_any_damage_gives_pixels_or_one_sentence(kind, cut, flips, mode):
    data = bytearray(SEEDS[kind][: int(len(SEEDS[kind]) * (cut if cut < 0.5 else 1))])
    for where, value in flips:
        if data:
            data[int(where * len(data))] = value
    result = pixels_or_sentence(bytes(data), mode)
    if isinstance(result, str):
        assert "\n" not in result
    else:
        assert result.dtype == np.uint8
        assert result.ndim == (2 if mode == "labels" else 3)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", sorted(SEEDS))
def test_a_truncated_file_never_gives_wrong_pixels(kind):
    data = SEEDS[kind]
    whole = image_reader.read_image(data)
    refused = 0
    for length in range(0, len(data), max(1, len(data) // 60)):
        result = pixels_or_sentence(data[:length])
        refused += isinstance(result, str)
        assert isinstance(result, str) or np.array_equal(result, whole)
    assert refused > 50


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([magic for magic, _ in image_reader.READERS] + [b""]))
def test_any_bytes_give_pixels_or_one_sentence(content, magic):
    result = pixels_or_sentence(magic + content)
    assert not isinstance(result, str) or "\n" not in result


# --------------------------------------------------------------------------------------- other sources


def test_members_of_a_zip_and_opened_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner/face.png", encode(PICTURE))
        archive.writestr("inner/bad.png", b"bad")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        with archive.open("inner/face.png") as member:
            assert np.array_equal(image_reader.read_image(member), PICTURE)
        with archive.open("inner/bad.png") as member:
            assert "inner/bad.png" in refusal(member)
    (tmp_path / "b.png").write_bytes(encode(PICTURE))
    with open(tmp_path / "b.png", "rb") as file:
        assert np.array_equal(image_reader.read_image(file), PICTURE)
    assert "image data" in refusal(b"bad")


def test_many_threads_read_the_same_and_say_the_same(tmp_path):
    (tmp_path / "good.png").write_bytes(encode(PICTURE))
    (tmp_path / "bomb.png").write_bytes(png(17_000, 17_000, 8, 0, b"\0"))
    wrong = []

    def work():
        for _ in range(30):
            if not np.array_equal(image_reader.read_image(tmp_path / "good.png"), PICTURE):
                wrong.append("pixels")
            try:
                image_reader.read_image(tmp_path / "bomb.png")
                wrong.append("bomb was read")
            except ImageError:
                pass

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert caught == []


def test_the_shared_photographs_are_read(photos):
    found = find_images(photos / "photos")
    assert len(found) >= 20
    assert {image_reader.read_image(path).shape[2] for path in found[:3]} == {3}


# --------------------------------------------------------------- phones, browsers, cameras and printers


SMOOTH = np.asarray(Image.fromarray(RNG.integers(0, 256, (4, 5, 3), np.uint8)).resize((80, 64), 3))  # [64, 80, 3]


@pytest.mark.parametrize("image_format", ["HEIF", "AVIF", "WEBP", "MPO", "GIF"])
def test_what_phones_and_browsers_write_is_read_upright(image_format):
    if image_format == "HEIF":
        pillow_heif = pytest.importorskip("pillow_heif", reason="HEIC needs the extra heic")
        pillow_heif.register_heif_opener()
    turned = Image.Exif()
    turned[274] = 6
    picture = Image.fromarray(SMOOTH)
    picture.info["exif"] = turned.tobytes()  # where the writer of HEIC looks for the turn
    options = {} if image_format == "GIF" else {"exif": turned.tobytes(), "quality": 95}
    got = image_reader.read_image(encode(picture, image_format, **options))
    expected = SMOOTH if image_format == "GIF" else np.rot90(SMOOTH, -1)
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).mean() < 8


def test_a_heic_file_without_its_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert "pip install pillow-heif" in refusal(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


def test_a_transparent_gif_and_a_16_bit_colour_png():
    clear = Image.new("P", (4, 4), 1)
    clear.putpalette([10, 20, 30, 200, 100, 50])
    clear.putpixel((0, 0), 0)
    pixels = image_reader.read_image(encode(clear, "GIF", transparency=0), "rgba")
    assert pixels[0, 0, 3] == 0
    assert pixels[1, 1].tolist() == [200, 100, 50, 255]
    deep = png(1, 1, 16, 2, b"\0" + struct.pack(">HHH", 65535, 32768, 257))
    assert image_reader.read_image(deep)[0, 0].tolist() == [255, 128, 1]


def rgb_profile(red: tuple[float, float, float], gamma: float) -> bytes:
    """A matrix profile by hand: sRGB's but for the red primary (XYZ under D50) and the curve."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"Wide\0" + bytes(78),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249),
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(*red),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(0.3851, 0.7169, 0.0971),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(0.1431, 0.0606, 0.7141),
        **{name: b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) for name in (b"rTRC", b"gTRC", b"bTRC")},
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + table + body


SRGB_RED = (0.4360, 0.2225, 0.0139)


def test_colours_are_converted_from_the_profile_of_the_file():
    gray = np.full((8, 8, 3), 128, np.uint8)
    linear = image_reader.read_image(encode(gray, "PNG", icc_profile=rgb_profile(SRGB_RED, 1.0)))
    assert abs(int(linear[0, 0, 1]) - 188) <= 1  # half of the light is 0.5 ** (1 / 2.4) * 1.055 - 0.055 = 0.735
    wide = rgb_profile(tuple(1.3 * x for x in SRGB_RED), 2.2)
    reddish = np.full((8, 8, 3), (120, 100, 90), np.uint8)
    with_profile = image_reader.read_image(encode(reddish, "JPEG", quality=100, icc_profile=wide))
    assert int(with_profile[4, 4, 0]) > 130
    clear = np.dstack([gray, np.full((8, 8), 77, np.uint8)])
    pixels = image_reader.read_image(encode(clear, "PNG", icc_profile=rgb_profile(SRGB_RED, 1.0)), "rgba")
    assert pixels[0, 0, 3] == 77
    assert abs(int(pixels[0, 0, 1]) - 188) <= 1


def test_a_profile_that_is_srgb_damaged_or_of_other_pixels_changes_nothing():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"rubbish" * 50, rgb_profile(SRGB_RED, 1.0)[:200]):
        assert np.array_equal(image_reader.read_image(encode(PICTURE, "PNG", icc_profile=profile)), PICTURE)
    gray = Image.fromarray(PICTURE[:, :, 0])
    got = image_reader.read_image(encode(gray, "PNG", icc_profile=rgb_profile(SRGB_RED, 1.0)), "gray")
    assert np.array_equal(got[:, :, 0], PICTURE[:, :, 0])


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16"])
def test_a_photo_of_too_many_pixels_is_halved_until_it_has_fewer(monkeypatch, image_format, mode):
    if mode not in {"JPEG": ("RGB", "L"), "WEBP": ("RGB", "RGBA")}.get(image_format, (mode,)):
        pytest.skip(f"{image_format} has no {mode}")
    image = Image.fromarray(SMOOTH)
    image = Image.fromarray(SMOOTH[:, :, 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    whole = image_reader.read_reduced(
        encode(image, image_format, **({"quality": 95} if image_format != "TIFF" else {}))
    )
    monkeypatch.setattr(image_reader, "MAX_DECODED_PIXELS", 64 * 80 // 5)
    monkeypatch.setattr(image_reader, "BAND_PIXELS", 80 * 9)
    small = image_reader.read_reduced(
        encode(image, image_format, **({"quality": 95} if image_format != "TIFF" else {}))
    )
    assert whole.shrunk == 1
    assert small.shrunk == 4
    assert small.pixels.shape == (16, 20, 3)
    means = whole.pixels.reshape(16, 4, 20, 4, 3).mean((1, 3))  # [16, 20, 3]
    assert np.abs(means - small.pixels).mean() < 3


def test_a_photo_of_200_megapixels_costs_less_than_its_pixels(tmp_path):
    Image.new("L", (16_320, 12_240), 130).save(tmp_path / "phone.jpg")
    code = (
        "import resource, sys; from stylegan2.runtime.image_reader import read_reduced;"
        "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024;"
        "before = used(); picture = read_reduced(sys.argv[1]);"
        "print(*picture.pixels.shape, picture.shrunk, used() - before)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "phone.jpg")], capture_output=True, text=True, check=True
    )
    *shape, megabytes = found.stdout.split()
    assert shape == ["6120", "8160", "3", "2.0"]
    assert int(megabytes) < 600  # its pixels alone, in colour: 600


def test_a_bigtiff_is_read():
    assert (image_reader.read_image(encode(PICTURE, "TIFF", big_tiff=True)) == PICTURE).all()


def test_a_palette_with_transparency_is_read_without_a_warning():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    data = encode(image, transparency=bytes([255, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_reader.read_image(data).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\xff\x0a\x1b\xc2", "a JPEG XL file: convert it"),
        (b"\0\0\0\x0cjP  \r\n", "a JPEG 2000 file: convert it"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ],
)
def test_other_kinds_of_files_are_named(data, kind):
    assert kind in refusal(data + bytes(100))


def test_a_tiff_that_pillow_does_not_decode_is_not_called_damaged():
    tifffile = pytest.importorskip("tifffile", reason="only this library writes half precision")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((8, 8), np.float16))
    assert "save it with 8 or 16 bits" in refusal(buffer.getvalue())
