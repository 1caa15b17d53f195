"""The guarded reader, the writer and the layouts, against values worked out by hand or by numpy."""

import io
import os
import struct
import threading
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError

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
            images.read_image(source, **options)
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
    assert np.array_equal(images.read_image(encode(PICTURE, image_format)), PICTURE)
    assert np.array_equal(images.read_image(encode(PICTURE, "WEBP", lossless=True)), PICTURE)


def test_jpeg_is_read_closely():
    smooth = np.stack([np.tile(np.linspace(0, 255, 64), (64, 1))] * 3, 2).astype(np.uint8)
    got = images.read_image(encode(smooth, "JPEG", quality=95))
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
    got = images.read_image(encode(stored, image_format, exif=exif, **options))
    assert got.shape == upright.shape
    assert np.abs(got[8::16, 8::16].astype(int) - upright[8::16, 8::16]).max() < 40


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_orientation_also_turns_labels_and_nonsense_orientation_is_ignored():
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    exif = Image.Exif()
    exif[274] = 6
    assert np.array_equal(images.read_image(encode(labels, exif=exif), mode="labels"), np.rot90(labels, -1))
    exif[274] = 77
    assert np.array_equal(images.read_image(encode(labels, exif=exif), mode="labels"), labels)
    assert np.array_equal(images.read_image(encode(PICTURE, exif=b"Exif\0\0MM\0*rubbish")), PICTURE)


def test_the_content_decides_not_the_name(tmp_path):
    (tmp_path / "jpeg_named.png").write_bytes(encode(PICTURE, "JPEG"))
    (tmp_path / "no_extension").write_bytes(encode(PICTURE))
    assert images.read_image(tmp_path / "jpeg_named.png").shape == (20, 40, 3)
    assert np.array_equal(images.read_image(str(tmp_path / "no_extension")), PICTURE)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(image_format):
    options = {"lossless": True} if image_format == "WEBP" else {}
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    assert np.array_equal(images.read_image(data), np.full((8, 8, 3), (255, 0, 0), np.uint8))


# ------------------------------------------------------------------------------------------ pixel modes


def test_each_mode_has_its_channels():
    data = encode(PICTURE)
    assert images.read_image(data, "rgba").shape == (20, 40, 4)
    assert (images.read_image(data, "rgba")[:, :, 3] == 255).all()
    luma = PICTURE @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    gray = images.read_image(data, "gray")
    assert gray.shape == (20, 40, 1)
    assert np.abs(gray[:, :, 0] - luma).max() <= 1
    with pytest.raises(ValueError, match="mode must be"):
        images.read_image(data, "bgr")


def test_one_bit_and_gray():
    bits = np.array([[0, 255], [255, 0]], np.uint8)
    assert np.array_equal(images.read_image(encode(Image.fromarray(bits).convert("1")))[:, :, 1], bits)
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for mode, channels in (("rgb", 3), ("gray", 1)):
        assert np.array_equal(images.read_image(encode(gray), mode), np.repeat(gray[:, :, None], channels, 2))


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(image_format):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(values / 257.0).astype(np.uint8)
    assert np.array_equal(images.read_image(encode(values, image_format), "gray")[:, :, 0], expected)
    assert abs(images.read_image(encode(values, image_format)).mean() - 127.5) < 0.01


def test_sixteen_bit_colour_twelve_bits_and_big_endian():
    row = b"\0" + struct.pack(">6H", 0, 32768, 65535, 65535, 257, 128 * 257)  # filter byte, then two pixels
    assert images.read_image(png(2, 1, 16, 2, row)).tolist() == [[[0, 128, 255], [255, 1, 128]]]
    assert images.read_image(tiff(2, 1, bytes([0xFF, 0xF8, 0x00]), bits=12), "gray").ravel().tolist() == [255, 128]
    big = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 65535, 128 * 257))
    assert images.read_image(encode(big, "TIFF"), "gray").ravel().tolist() == [255, 128]


@pytest.mark.parametrize(("bits", "data"), [(8, b"\0\xff"), (16, b"\0\0\xff\xff")])
def test_a_tiff_where_white_is_zero_is_not_a_negative(bits, data):
    assert images.read_image(tiff(2, 1, data, bits, photometric=0), "gray").ravel().tolist() == [255, 0]
    assert images.read_image(tiff(2, 1, data, bits, photometric=1), "gray").ravel().tolist() == [0, 255]


def test_a_transparent_gray_value_of_sixteen_bits():
    data = png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 1000, 65535), extra=trns(struct.pack(">H", 1000)))
    assert images.read_image(data, "rgba").tolist() == [[[4, 4, 4, 0], [255, 255, 255, 255]]]
    assert images.read_image(data, matte=(1, 2, 3)).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_a_transparent_colour_of_sixteen_bits_is_refused_rather_than_missed():
    data = png(
        1, 1, 16, 2, b"\0" + struct.pack(">3H", 0, 32768, 65535), extra=trns(struct.pack(">3H", 0, 32768, 65535))
    )
    assert "alpha channel" in refusal(data)
    data = png(1, 1, 8, 2, b"\0\1\2\3", extra=trns(struct.pack(">3H", 1, 2, 3)))
    assert images.read_image(data, "rgba").ravel().tolist() == [1, 2, 3, 0]


def trns(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + b"tRNS" + content + struct.pack(">I", zlib.crc32(b"tRNS" + content))


def test_integers_and_floats_of_32_bits():
    integers = Image.fromarray(np.array([[0, 65535]], np.int32))
    assert images.read_image(encode(integers, "TIFF"), "gray").ravel().tolist() == [0, 255]
    unit = np.array([[0, 0.5, 1]], np.float32)
    assert images.read_image(encode(unit, "TIFF"), "gray").ravel().tolist() == [0, 128, 255]
    assert images.read_image(encode(unit * 255, "TIFF"), "gray").ravel().tolist() == [0, 128, 255]
    for bad in (np.array([[0, 65536]], np.int32), np.array([[-1, 5]], np.int32), np.array([[0, 300]], np.float32)):
        assert "white is unknown" in refusal(encode(bad, "TIFF"))
    for bad in (np.nan, np.inf, -0.5):
        assert "white is unknown" in refusal(encode(np.array([[0, bad]], np.float32), "TIFF"))


def test_palette_with_and_without_transparency():
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 255, 0]]], np.uint8)
    assert np.array_equal(images.read_image(encode(image)), colours)
    partly = encode(image, transparency=bytes([0, 255, 255]))
    single = encode(image, transparency=0)
    for data in (partly, single):
        got = images.read_image(data, matte=(10, 20, 30))
        assert got[0, 0].tolist() == [10, 20, 30]
        assert np.array_equal(got[1], colours[1])
        assert images.read_image(data, "rgba")[0, :, 3].tolist() == [0, 255]


def test_transparency_is_laid_over_the_matte():
    pixels = RNG.integers(0, 256, (16, 16, 4), np.uint8)
    matte = (200, 30, 90)
    alpha = pixels[:, :, 3:] / 255
    expected = pixels[:, :, :3] * alpha + np.array(matte) * (1 - alpha)
    for image_format, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        data = encode(pixels, image_format, **options)
        assert np.abs(images.read_image(data, matte=matte) - expected).max() <= 1
        assert np.array_equal(images.read_image(data, "rgba"), pixels)
    hidden = np.zeros((2, 2, 4), np.uint8)
    hidden[:, :, 0] = 255  # red that nobody sees
    assert (images.read_image(encode(hidden)) == 255).all()


def test_gray_with_alpha_and_one_bit_with_a_transparent_value():
    la = np.array([[[100, 255], [100, 0]]], np.uint8)
    data = encode(Image.fromarray(la, "LA"))
    assert images.read_image(data, "gray", matte=(0, 0, 0)).ravel().tolist() == [100, 0]
    assert images.read_image(data)[0, :, 0].tolist() == [100, 255]
    assert images.read_image(data, "rgba")[0, 1, 3] == 0
    one_bit = png(2, 1, 1, 0, b"\0\x40", extra=trns(b"\0\0"))  # pixels 0 and 1, where 0 is transparent
    assert images.read_image(one_bit, matte=(9, 9, 9))[0, :, 0].tolist() == [9, 255]


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(image_format):
    """A JPEG from Photoshop stores inverted CMYK (Adobe marker); ink 0 is white, full black ink is black."""
    inks = {(0, 0, 0, 0): (255, 255, 255), (0, 0, 0, 255): (0, 0, 0), (0, 255, 255, 0): (255, 0, 0)}
    for ink, colour in inks.items():
        got = images.read_image(encode(Image.new("CMYK", (16, 16), ink), image_format))
        assert np.abs(got.astype(int) - colour).max() <= 3
        assert images.read_image(encode(Image.new("CMYK", (16, 16), ink), image_format), "gray").shape == (16, 16, 1)


@pytest.mark.parametrize(("mode", "white"), [("LAB", (255, 128, 128)), ("YCbCr", (255, 128, 128))])
def test_other_colour_spaces_are_converted(mode, white):
    assert images.read_image(encode(Image.new(mode, (4, 4), white), "TIFF")).min() >= 254
    assert images.read_image(encode(Image.new(mode, (4, 4), (0, 128, 128)), "TIFF"), "gray").max() <= 1


# --------------------------------------------------------------------------------------------- labels


def test_labels_are_indices_not_colours():
    indices = RNG.integers(0, 19, (12, 9), np.uint8)
    palette = Image.fromarray(indices, "P")
    palette.putpalette(list(RNG.integers(0, 256, 57)))
    assert np.array_equal(images.read_image(encode(palette), "labels"), indices)
    assert images.read_image(encode(palette), "labels").dtype == np.uint8
    same = np.repeat(indices[:, :, None], 3, 2)  # what cv2.imwrite makes of a gray image that it read in colour
    for array in (indices, indices.astype(np.uint16), same):
        assert np.array_equal(images.read_image(encode(array), "labels"), indices)
    mask = Image.fromarray((indices > 9).astype(np.uint8) * 255).convert("1")
    assert np.array_equal(images.read_image(encode(mask), "labels"), indices > 9)


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
        "moving.gif": (encode(PICTURE, "GIF"), "GIF8"),
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
    assert "no such file" in refusal(tmp_path / "pipe.png")


def test_a_newline_in_a_name_stays_in_one_line(tmp_path):
    path = tmp_path / "two\nlines.png"
    path.write_bytes(b"x")
    assert "two\\nlines.png" in refusal(path)


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (10_000, 5_001),
        (9_000, 9_900),
        (14_000, 14_000),
        (2**31 - 1, 2**31 - 1),
    ],  # below, in and above Pillow's own limits
)
def test_a_decompression_bomb_is_refused_from_its_header(width, height):
    sentence = refusal(png(width, height, 8, 0, b"\0" * 1000))
    assert f"{width} x {height}" in sentence
    assert "50 megapixels" in sentence


def test_bombs_of_the_other_formats():
    assert "megapixels" in refusal(b"P5 10000 10000 255\n")
    assert "megapixels" in refusal(tiff(10_000, 10_000, b"\0", 8))
    bitmap = bytearray(encode(PICTURE, "BMP"))
    bitmap[18:26] = struct.pack("<ii", 10_000, 10_000)
    assert "megapixels" in refusal(bytes(bitmap))
    jpeg = bytearray(encode(PICTURE, "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 10_000, 10_000)
    assert "megapixels" in refusal(bytes(jpeg))
    webp = b"WEBPVP8 " + struct.pack("<I", 10) + b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16_000, 16_000)
    refusal(b"RIFF" + struct.pack("<I", len(webp)) + webp)


def test_the_limits_themselves_are_allowed(monkeypatch, tmp_path):
    monkeypatch.setattr(images, "MAX_PIXELS", 800)
    assert images.read_image(encode(PICTURE)).shape == (20, 40, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 799)
    assert "40 x 20" in refusal(encode(PICTURE))
    monkeypatch.setattr(images, "MAX_PIXELS", 800)
    data = encode(PICTURE)
    (tmp_path / "a.png").write_bytes(data)
    monkeypatch.setattr(images, "MAX_FILE_BYTES", len(data))
    assert images.read_image(tmp_path / "a.png").shape == (20, 40, 3)
    monkeypatch.setattr(images, "MAX_FILE_BYTES", len(data) - 1)
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
        return images.read_image(data, mode)
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
    whole = images.read_image(data)
    refused = 0
    for length in range(0, len(data), max(1, len(data) // 60)):
        result = pixels_or_sentence(data[:length])
        refused += isinstance(result, str)
        assert isinstance(result, str) or np.array_equal(result, whole)
    assert refused > 50


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([magic for magic, _ in images.READERS] + [b""]))
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
            assert np.array_equal(images.read_image(member), PICTURE)
        with archive.open("inner/bad.png") as member:
            assert "inner/bad.png" in refusal(member)
    (tmp_path / "b.png").write_bytes(encode(PICTURE))
    with open(tmp_path / "b.png", "rb") as file:
        assert np.array_equal(images.read_image(file), PICTURE)
    assert "image data" in refusal(b"bad")


def test_many_threads_read_the_same_and_say_the_same(tmp_path):
    (tmp_path / "good.png").write_bytes(encode(PICTURE))
    (tmp_path / "bomb.png").write_bytes(png(9_500, 9_500, 8, 0, b"\0"))
    wrong = []

    def work():
        for _ in range(30):
            if not np.array_equal(images.read_image(tmp_path / "good.png"), PICTURE):
                wrong.append("pixels")
            try:
                images.read_image(tmp_path / "bomb.png")
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


def test_find_images_is_recursive_sorted_and_wary(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.webp", "sub/._c.webp", "sub/notes.txt", "z.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = images.find_images(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.JPG", "b.png", "sub/c.webp"]
    assert images.find_images(str(tmp_path / "sub")) == [tmp_path / "sub" / "c.webp"]
    for bad in (tmp_path / "missing", tmp_path / "b.png"):
        with pytest.raises(ImageError, match="cannot list folder"):
            images.find_images(bad)


def test_the_shared_photographs_are_read(photos):
    found = images.find_images(photos / "photos")
    assert len(found) >= 20
    assert {images.read_image(path).shape[2] for path in found[:3]} == {3}


# --------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_a_png_returns_unchanged(tmp_path, shape):
    array = RNG.integers(0, 256, shape, np.uint8)
    path = tmp_path / "new" / "folder" / "a.png"
    images.write_image(path, array)
    mode = {1: "gray", 3: "rgb", 4: "rgba"}[shape[2]] if len(shape) == 3 else "labels"
    assert np.array_equal(images.read_image(path, mode), array)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask  # readable by colleagues, unlike a tempfile


def test_a_jpeg_keeps_colour_edges(tmp_path):
    array = np.zeros((16, 16, 3), np.uint8)
    array[:, ::2] = (255, 0, 0)
    images.write_image(tmp_path / "a.jpeg", array)
    assert (
        np.abs(images.read_image(tmp_path / "a.jpeg").astype(int) - array).max() < 40
    )  # 4:2:0 is off by more than 100
    with Image.open(tmp_path / "a.jpeg") as image:
        assert image.format == "JPEG"


def test_what_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    gray = np.zeros((4, 4), np.uint8)
    for name in ("a.gif", "a", "a.webp"):
        with pytest.raises(ImageError, match=r"\.png"):
            images.write_image(tmp_path / name, gray)
    with pytest.raises(ImageError, match="transparency"):
        images.write_image(tmp_path / "a.jpg", np.zeros((4, 4, 4), np.uint8))
    for bad in (gray.astype(np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(ValueError, match="expected uint8"):
            images.write_image(tmp_path / "a.png", bad)
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"cannot write .*a\.png"):
        images.write_image(tmp_path / "file" / "a.png", gray)


def test_a_failed_write_keeps_the_old_image(tmp_path, monkeypatch):
    images.write_image(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    before = (tmp_path / "a.png").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ImageError, match="No space left"):
        images.write_image(tmp_path / "a.png", np.ones((4, 4), np.uint8))
    assert (tmp_path / "a.png").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]


# ------------------------------------------------------------------------------------ values and layout


def test_every_value_survives_the_way_to_floats_and_back():
    array = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, 2)
    tensor = images.to_tensor(array)
    assert tensor.shape == (3, 16, 16)
    assert tensor.dtype == torch.float32
    assert (tensor.min(), tensor.max()) == (-1, 1)
    assert np.array_equal(images.to_uint8(tensor[None])[0], array)
    assert images.to_tensor(array[::-1, ::-1]).is_contiguous()


def test_to_uint8_clamps_and_rounds():
    values = torch.tensor([-7.0, -1, -1 + 1.4 / 127.5, -1 + 1.6 / 127.5, 1, 3]).reshape(1, 1, 1, 6)
    assert images.to_uint8(values).ravel().tolist() == [0, 0, 1, 2, 255, 255]
    assert images.to_uint8(torch.zeros(2, 3, 4, 5, dtype=torch.bfloat16, requires_grad=True)).shape == (2, 4, 5, 3)


def test_resize_is_antialiased_and_labels_stay_labels():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = images.resize(stripes, (16, 16))
    assert small.shape == (16, 16, 3)
    assert np.abs(small[:, 2:-2].astype(int) - 127.5).max() < 8  # plain subsampling gives 0 or 255
    for channels in (1, 4):
        assert images.resize(np.zeros((8, 8, channels), np.uint8), (4, 6)).shape == (4, 6, channels)
    labels = RNG.choice(np.array([3, 200], np.uint8), (50, 50))
    assert images.resize(labels, (17, 23)).shape == (17, 23)
    assert set(np.unique(images.resize(labels, (17, 23)))) == {3, 200}
    assert np.array_equal(images.resize(images.resize(labels, (100, 100)), (50, 50)), labels)


def test_resize_does_not_let_hidden_colour_bleed():
    array = np.zeros((32, 32, 4), np.uint8)
    array[:, :16] = (255, 255, 255, 255)
    array[:, 16:] = (255, 0, 0, 0)  # transparent red
    small = images.resize(array, (4, 4))
    visible = small[small[:, :, 3] > 0]
    assert (visible[:, 1] == 255).all()


def test_center_crop_square():
    tall = np.arange(7 * 3, dtype=np.uint8).reshape(7, 3, 1)
    assert np.array_equal(images.center_crop_square(tall), tall[2:5])
    assert np.array_equal(images.center_crop_square(tall.swapaxes(0, 1)), tall.swapaxes(0, 1)[:, 2:5])


def test_grid_places_images_row_by_row():
    batch = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 3, 2, 4) / 2 - 1
    sheet = images.grid(batch, columns=3)
    assert sheet.shape == (4, 12, 3)
    assert sheet[::2, ::4, 0].tolist() == [[0, 64, 128], [191, 255, 0]]


def test_labelled_sheet_holds_pictures_and_text(tmp_path):
    red, blue = np.full((40, 40, 3), (255, 0, 0), np.uint8), np.full((20, 30, 3), (0, 0, 255), np.uint8)
    gray = np.full((40, 40, 1), 100, np.uint8)
    bare = images.labelled_sheet([[red, blue], [gray]])
    assert bare.shape == (80, 80, 3)
    assert (bare[:40, :40] == (255, 0, 0)).all()
    assert (bare == (0, 0, 255)).all(2).sum() == 20 * 30
    assert (bare[40:, :40] == 100).all()
    assert (bare[40:, 40:] == 255).all()
    titles, captions = ["source", "a title far too long for its column"], ["first", "é 漢字"]
    full = images.labelled_sheet([[red, blue], [gray]], titles, captions)
    top, left = full.shape[0] - 80, full.shape[1] - 80
    assert np.array_equal(full[top:, left:], bare)
    assert full[:top, left : left + 40].min() < 100  # ink above the first column
    assert full[:top, left + 40 :].min() < 100
    assert full[top : top + 40, :left].min() < 100
    assert full[top + 40 :, :left].min() < 100
    with pytest.raises(ValueError, match="at least one"):
        images.labelled_sheet([[]])


def test_extensions_are_those_that_can_be_read():
    Image.init()
    kinds = {Image.registered_extensions()[extension] for extension in images.EXTENSIONS}
    assert kinds == {"PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM"}
    assert Path("x.gif").suffix not in images.EXTENSIONS
