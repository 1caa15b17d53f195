"""Preparation of photos: crops, checks and packing, omitted photos, and interrupted runs."""

import io
import json
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from datasets import prepare as module
from datasets.folder import ImageFiles, ImageFolder
from datasets.prepare import Recipe, encode_png, prepare_folder, square_box, summarize
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "prepared16.zip"
ANY = Recipe(16)


def colours(seed, height=24, width=24):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def smooth(seed, height, width, channels):
    """Make a picture whose colours vary slowly, so that all good filters give the same result."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), np.uint8)
    return np.asarray(Image.fromarray(small.squeeze()).resize((width, height), Image.Resampling.BICUBIC))


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


@pytest.fixture
def photos(tmp_path):
    """Provide a folder with a file of each kind."""
    folder = tmp_path / "photos"
    save(folder / "a.png", colours(0))
    save(folder / "a.jpg", colours(1, 40, 30), quality=95)
    save(folder / "deep" / "gray.png", smooth(2, 20, 20, 1))
    save(folder / "deep" / "clear.png", smooth(3, 30, 20, 4))
    save(folder / "copy.bmp", colours(0))
    save(folder / "small.png", colours(4, 15, 60))
    save(folder / "wide.png", colours(5, 20, 90))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    return folder


def packed(out):
    """Read {name: pixels} from a zip file or folder, without dataset.json."""
    if out.is_dir():
        return {p.relative_to(out).as_posix(): np.asarray(Image.open(p)) for p in sorted(out.rglob("*.png"))}
    with zipfile.ZipFile(out) as archive:
        names = [name for name in archive.namelist() if name != "dataset.json"]
        return {name: np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names}


def labels_in(out):
    if out.is_dir():
        return json.loads((out / "dataset.json").read_text())
    with zipfile.ZipFile(out) as archive:
        return json.loads(archive.read("dataset.json"))


# --- crops ---


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from(("center", "top", "none")))
def test_squares_lie_in_the_picture_and_are_the_largest(height, width, crop):
    box = square_box(height, width, crop)
    if box is None:
        assert crop == "none"
        assert height != width
        return
    top, left, side = box
    assert side == min(height, width)
    assert 0 <= top <= height - side
    assert 0 <= left <= width - side
    assert abs(2 * left + side - width) <= 1
    assert top == 0 if crop == "top" else abs(2 * top + side - height) <= 1


@settings(max_examples=30, deadline=None)
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4]))),
    st.sampled_from(("center", "top", "none")),
    st.sampled_from([1, 3, 4]),
    st.sampled_from([4, 16, 32]),
)
def test_pictures_have_the_size_that_was_asked_for(tmp_path_factory, array, crop, channels, resolution):
    folder = tmp_path_factory.mktemp("x")
    (folder / "x.png").write_bytes(encode_png(array))
    item = module.prepare(ImageFiles(folder), 0, Recipe(resolution, channels, crop), None)
    if crop == "none" and array.shape[0] != array.shape[1]:
        assert item.reason == "aspect"
        return
    assert item.reason is None
    pixels = np.asarray(Image.open(io.BytesIO(item.png)))
    assert pixels.shape == ((resolution, resolution) if channels == 1 else (resolution, resolution, channels))


# --- what is kept ---


@pytest.mark.parametrize("out", ["out.zip", "new/folder"])
@pytest.mark.parametrize("workers", [1, 3])
def test_what_can_be_used_is_packed(tmp_path, photos, out, workers):
    out = tmp_path / out
    outcome = prepare_folder(ImageFiles(photos), out, Recipe(16, min_side=16, max_aspect=4), workers=workers)
    pictures = packed(out)
    assert list(pictures) == sorted(pictures)
    assert pictures.keys() == {"a_jpg.png", "a_png.png", "deep/gray.png", "deep/clear.png"}
    assert all(pixels.shape == (16, 16, 3) for pixels in pictures.values())
    np.testing.assert_array_equal(pictures["a_png.png"], images.resize(colours(0), (16, 16)))
    photo = images.read_image(photos / "a.jpg")
    np.testing.assert_array_equal(pictures["a_jpg.png"], images.resize(photo[5:35], (16, 16)))
    reasons = {item.name: item.reason for item in outcome.left_out}
    assert reasons == {
        "broken.jpg": "unreadable",
        "copy.bmp": "duplicate",
        "small.png": "too_small",
        "wide.png": "aspect",
    }
    assert outcome.kept["a.jpg"] == "a_jpg.png"
    assert outcome.notes == {"gray": 1, "transparent": 1}


def test_training_reads_what_was_packed(tmp_path, photos):
    for out in (tmp_path / "out.zip", tmp_path / "out"):
        for channels in (1, 3, 4):
            target = out.with_name(f"{channels}{out.name}")
            prepare_folder(ImageFiles(photos), target, Recipe(16, channels))
            pictures = packed(target)
            pixels = ImageFolder(target, 16, channels)
            assert len(pixels) == len(pictures)
            for index, expected in enumerate(pictures.values()):
                np.testing.assert_array_equal(pixels[index], expected.reshape(16, 16, channels))


def test_it_is_what_training_makes_of_the_photos_themselves(tmp_path, photos):
    prepare_folder(ImageFiles(photos), tmp_path / "out.zip", ANY, keep_duplicates=True)
    (photos / "broken.jpg").unlink()
    before, after = ImageFolder(photos, 16), ImageFolder(tmp_path / "out.zip", 16)
    by_name = dict(zip(packed(tmp_path / "out.zip"), range(len(after)), strict=True))
    for index in range(len(before)):
        own = Path(before.files.relative(index))
        name = next(
            n for n in by_name if n in (f"{own.with_suffix('')}.png", f"{own.parent / own.stem}_{own.suffix[1:]}.png")
        )
        np.testing.assert_array_equal(after[by_name[name]], before[index])


@pytest.mark.parametrize(
    ("channels", "notes"),
    [(1, {"colour": 6, "transparent": 1}), (3, {"gray": 1, "transparent": 1}), (4, {"gray": 1})],
)
def test_conversions_are_counted(tmp_path, photos, channels, notes, capsys):
    recipe = Recipe(16, channels)
    outcome = prepare_folder(ImageFiles(photos), tmp_path / "out.zip", recipe, keep_duplicates=True)
    assert outcome.notes == notes
    summarize(outcome, tmp_path / "out.zip", recipe)
    printed = capsys.readouterr().out
    assert ("1 of them are grayscale and were converted to" in printed) == (channels != 1)
    assert ("6 of them were in colour and were converted to grayscale" in printed) == (channels == 1)


def test_alpha_is_kept_or_laid_on_white(tmp_path, photos):
    for channels in (1, 3, 4):
        prepare_folder(ImageFiles(photos), tmp_path / f"{channels}.zip", Recipe(16, channels))
    clear = images.read_image(photos / "deep" / "clear.png", "rgba")[5:25]
    np.testing.assert_array_equal(packed(tmp_path / "4.zip")["deep/clear.png"], images.resize(clear, (16, 16)))
    on_white = images.read_image(photos / "deep" / "clear.png", "rgb")[5:25]
    np.testing.assert_array_equal(packed(tmp_path / "3.zip")["deep/clear.png"], images.resize(on_white, (16, 16)))
    gray = images.read_image(photos / "deep" / "clear.png", "gray")[5:25]
    np.testing.assert_array_equal(packed(tmp_path / "1.zip")["deep/clear.png"], images.resize(gray, (16, 16))[..., 0])


def test_a_zip_of_photos_is_a_source_too(tmp_path, photos):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in photos.rglob("*.*"):
            archive.write(path, path.relative_to(photos).as_posix())
        archive.write(photos / "a.png", "../escaped.png")
    first = prepare_folder(ImageFiles(tmp_path / "in.zip"), tmp_path / "one" / "out", ANY, workers=3)
    prepare_folder(ImageFiles(photos), tmp_path / "out.zip", ANY)
    assert packed(tmp_path / "one" / "out").keys() == packed(tmp_path / "out.zip").keys()
    assert [item.name for item in first.left_out if item.reason == "bad_name"] == ["../escaped.png"]
    assert not (tmp_path / "one" / "escaped.png").exists()


def test_the_golden_zip(tmp_path):
    """Names, labels and pixels of a small archive, which other programs read; PSP_WRITE_GOLDEN writes it anew."""
    folder = tmp_path / "in"
    for index, (name, channels) in enumerate(
        [("b/one.png", 3), ("b/two.png", 1), ("a/three.png", 4), ("a/four.png", 3)]
    ):
        save(folder / name, smooth(index, 40 + 7 * index, 50, channels))
    out = tmp_path / "out.zip"
    prepare_folder(
        ImageFiles(folder), out, ANY, {"b/one.png": "b", "b/two.png": "b", "a/three.png": "a", "a/four.png": "a"}
    )
    if os.environ.get("PSP_WRITE_GOLDEN"):
        GOLDEN.write_bytes(out.read_bytes())
    assert labels_in(out) == labels_in(GOLDEN)
    assert labels_in(GOLDEN)["labels"] == [["a/four.png", 0], ["a/three.png", 0], ["b/one.png", 1], ["b/two.png", 1]]
    pictures, stored = packed(out), packed(GOLDEN)
    assert list(pictures) == list(stored)
    for name, pixels in stored.items():
        np.testing.assert_allclose(pictures[name].astype(int), pixels.astype(int), atol=2, err_msg=name)


def test_equal_photos_make_equal_archives(tmp_path, photos):
    for name, workers in (("one.zip", 1), ("two.zip", 4)):
        prepare_folder(ImageFiles(photos), tmp_path / name, ANY, workers=workers)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:  # nor does the time of day matter
        assert {info.date_time[:3] for info in archive.infolist()} == {(1980, 1, 1)}


def test_labels(tmp_path, photos):
    """A class that loses its pictures has no number, and pictures without a class are left out."""
    given_labels = {"a.png": "z", "a.jpg": "m", "broken.jpg": "a", "deep/gray.png": "z"}
    out = tmp_path / "out.zip"
    outcome = prepare_folder(ImageFiles(photos), out, ANY, given_labels)
    stored = labels_in(out)
    assert stored["labels"] == [["a_jpg.png", 0], ["a_png.png", 1], ["deep/gray.png", 1]]
    assert stored["classes"] == ["m", "z"]
    assert ImageFolder(out, 16).labels().tolist() == [0, 1, 1]
    assert {item.name for item in outcome.left_out if item.reason == "no_label"} == {
        "copy.bmp",
        "deep/clear.png",
        "small.png",
        "wide.png",
    }
    assert outcome.classes == {"z": 2, "m": 1}


# --- what is left out, and what goes wrong ---


def test_every_file_that_is_left_out_is_listed(tmp_path, photos, capsys):
    out, recipe = tmp_path / "faces.zip", Recipe(16, min_side=16, max_aspect=4)
    assert summarize(prepare_folder(ImageFiles(photos), out, recipe), out, recipe) == 1
    printed = capsys.readouterr()
    lines = (tmp_path / "faces.left_out.txt").read_text().splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["unreadable", "broken.jpg"],
        ["duplicate", "copy.bmp"],
        ["too_small", "small.png"],
        ["aspect", "wide.png"],
    ]
    assert lines[1:] == [
        "duplicate: copy.bmp: it is the same as a.png",
        "too_small: small.png: 60 x 15 pixels: less than 16",
        "aspect: wide.png: 90 x 20 pixels: its sides differ by more than 4 times",
    ]
    assert all(line in printed.err for line in lines)
    assert "4 of 8 images at 16 px" in printed.out
    assert "left out: 1 unreadable, 1 duplicate, 1 too_small, 1 aspect" in printed.out
    for name in ("broken.jpg", "copy.bmp", "small.png", "wide.png"):
        (photos / name).unlink()
    out.unlink()
    assert summarize(prepare_folder(ImageFiles(photos), out, recipe), out, recipe) == 0
    assert not (tmp_path / "faces.left_out.txt").exists()


@pytest.mark.parametrize("out", ["out.zip", "out"])
def test_nothing_stays_of_a_run_that_was_stopped(tmp_path, photos, monkeypatch, out):
    encoded = module.encode_png

    def stops_at_the_fourth(picture, made=[]):  # noqa: B006
        made.append(picture)
        if len(made) == 4:
            raise KeyboardInterrupt
        return encoded(picture)

    monkeypatch.setattr(module, "encode_png", stops_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        prepare_folder(ImageFiles(photos), tmp_path / out, ANY)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize("out", ["out.zip", "out"])
def test_a_full_disk_is_one_sentence(tmp_path, photos, monkeypatch, out):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"cannot write '.*out.*': No space left on device"):
        prepare_folder(ImageFiles(photos), tmp_path / out, ANY)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_nothing_is_overwritten(tmp_path, photos):
    (tmp_path / "empty").mkdir()
    prepare_folder(ImageFiles(photos), tmp_path / "empty", ANY)
    before = (tmp_path / "empty" / "a_png.png").read_bytes()
    (tmp_path / "out.zip").write_bytes(b"mine")
    for name, words in (
        ("empty", "is a folder that holds files: remove it"),
        ("out.zip", "exists: remove it, or give"),
    ):
        with pytest.raises(UserError, match=words):
            prepare_folder(ImageFiles(photos), tmp_path / name, Recipe(32))
    assert (tmp_path / "out.zip").read_bytes() == b"mine"
    assert (tmp_path / "empty" / "a_png.png").read_bytes() == before


def test_a_photo_may_be_as_small_as_the_picture(tmp_path, photos):
    outcome = prepare_folder(ImageFiles(photos), tmp_path / "out.zip", Recipe(16, min_side=20))
    assert "deep/gray.png" in outcome.kept  # 20 x 20
    outcome = prepare_folder(ImageFiles(photos), tmp_path / "other.zip", Recipe(16, min_side=21))
    assert "deep/gray.png" not in outcome.kept


def test_no_usable_photo_is_one_sentence(tmp_path, photos):
    with pytest.raises(UserError, match="none of the 8 images can be used: too_small: a.jpg: 30 x 40 pixels") as caught:
        prepare_folder(ImageFiles(photos), tmp_path / "out.zip", Recipe(16, min_side=100))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.zip").exists()


def test_names_that_are_no_text(tmp_path, capsys):
    folder = tmp_path / "in"
    save(folder / "fine é .png", colours(0))
    try:
        (folder / os.fsdecode(b"\xff.png")).write_bytes(encode_png(colours(1)))
    except OSError:
        pytest.skip("this disk takes names of text only")
    outcome = prepare_folder(ImageFiles(folder), tmp_path / "out.zip", ANY)
    assert list(packed(tmp_path / "out.zip")) == ["fine é .png"]
    assert summarize(outcome, tmp_path / "out.zip", ANY) == 1
    assert "bad_name: '\\udcff.png': rename it" in (tmp_path / "out.left_out.txt").read_text()


# --- training on a folder as it is ---


def test_one_corrupt_image_in_a_thousand_is_named_and_training_goes_on(tmp_path):
    content = [encode_png(colours(seed, 8, 8)) for seed in range(5)]
    for index in range(1000):
        (tmp_path / f"{index:04d}.png").write_bytes(content[index % 5])
    (tmp_path / "0500.png").write_bytes(content[0][:60])
    pixels = ImageFolder(tmp_path, 8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            for index in range(1000):
                pixels[index]
    (line,) = [str(warning.message) for warning in caught]
    assert line.startswith("left out: ")
    assert "0500.png" in line
    assert "\n" not in line


def test_a_picture_that_stands_in_for_another_is_of_its_class(tmp_path):
    for index, name in enumerate(["a/0", "a/1", "a/2", "b/0", "b/1", "b/2"]):
        save(tmp_path / f"{name}.png", np.full((8, 8, 3), [index, 9, 99], np.uint8))
    (tmp_path / "a" / "2.png").write_bytes(b"")
    (tmp_path / "b" / "0.png").write_bytes(b"")
    # Two of six are more than UnreadableItems allows: a hundred more of class c.
    for index in range(200):
        save(tmp_path / "c" / f"{index}.png", np.full((8, 8, 3), [index, 50, 99], np.uint8))
    pixels = ImageFolder(tmp_path, 8)
    with pytest.warns(UserWarning, match="left out"):
        assert pixels[2][0, 0, 0] == 4  # the next of any class, where nobody asked for classes
    assert pixels.labels().tolist() == [0] * 3 + [1] * 3 + [2] * 200
    assert pixels[2][0, 0].tolist() == [0, 9, 99]
    assert pixels[3][0, 0].tolist() == [4, 9, 99]


def test_a_grayscale_image_among_colour_is_said_once(tmp_path):
    save(tmp_path / "a.png", colours(0))
    save(tmp_path / "b.png", np.full((20, 20), 7, np.uint8))
    save(tmp_path / "c.png", np.full((20, 20), 8, np.uint8))
    pixels = ImageFolder(tmp_path, 16)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pictures = [pixels[index] for index in (0, 1, 2, 1)]
    assert [str(w.message) for w in caught] == [
        "'b.png' is grayscale: it and other grayscale images are converted to RGB"
    ]
    assert all(image.shape == (16, 16, 3) for image in pictures)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ImageFolder(tmp_path, 16, channels=1)[1].shape == (16, 16, 1)


def test_padding_keeps_the_whole_photo_and_is_recorded(tmp_path):
    wide = np.full((30, 60, 3), 200, np.uint8)
    images.write_image(tmp_path / "in" / "car.png", wide)
    images.write_image(tmp_path / "in" / "square.png", wide[:, :30])
    outcome = prepare_folder(ImageFiles(tmp_path / "in"), tmp_path / "out", Recipe(32, crop="pad"))
    assert sorted(outcome.kept) == ["car.png", "square.png"]
    regions = json.loads((tmp_path / "out" / "padding.json").read_text())
    assert regions == {"car.png": [0.0, 0.25, 1.0, 0.75], "square.png": [0.0, 0.0, 1.0, 1.0]}
    packed = images.read_image(tmp_path / "out" / "car.png")
    assert packed.shape == (32, 32, 3)
    assert max(packed[:6].max(), packed[26:].max()) <= 1
    assert packed[9:23].min() >= 199
