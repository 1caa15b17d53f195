"""The writer and the layouts, against values worked out by hand or by numpy."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stylegan2.runtime import images
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.images import write_animation

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (20, 40, 3), np.uint8)  # [H, W, C], wider than tall, no symmetry


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


@given(st.integers(1, 40), st.integers(1, 40))
def test_padding_can_be_cut_off_again(height, width):
    array = np.arange(height * width * 3).astype(np.uint8).reshape(height, width, 3)
    square, region = images.pad_square(array)
    assert square.shape == (max(height, width),) * 2 + (3,)
    assert np.array_equal(images.cut_region(square, region), array)
    assert square.astype(int).sum() == array.astype(int).sum()


def test_a_thin_region_has_a_pixel():
    assert images.cut_region(np.zeros((8, 8, 3), np.uint8), (0.0, 0.51, 1.0, 0.52)).shape == (1, 8, 3)


def frames(count=5, channels=3):
    """Smooth colours, each frame another."""
    shade = np.linspace(0, 200, 24)[None, :, None] + np.zeros((24, 1, channels))
    return [(shade + 10 * k * np.arange(1, channels + 1) / channels).astype(np.uint8) for k in range(count)]


@pytest.mark.parametrize(("name", "tolerance"), [("a.gif", 3), ("a.WEBP", 6)])
@pytest.mark.parametrize("channels", [1, 3])
def test_frames_come_back(tmp_path, name, tolerance, channels):
    written = frames(channels=channels)
    write_animation(tmp_path / "new" / name, written, fps=25)
    with Image.open(tmp_path / "new" / name) as image:
        assert image.n_frames == 5
        assert image.info["loop"] == 0
        for k in range(5):
            image.seek(k)
            found = np.asarray(image.convert("RGB")).astype(int)
            assert np.abs(found - written[k]).mean() < tolerance
            assert image.info["duration"] == 40


def test_mistakes_are_one_sentence(tmp_path):
    with pytest.raises(ImageError, match=r"are written as .gif or .webp"):
        write_animation(tmp_path / "a.mp4", frames())
    for fps in (0, 51, float("nan")):
        with pytest.raises(UserError, match="more than 0 and at most 50 frames a second"):
            write_animation(tmp_path / "a.gif", frames(), fps)
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="cannot write"):
        write_animation(tmp_path / "file" / "a.gif", frames())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
