"""scripts/prepare_data.py: exit codes and error messages."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from datasets.folder import ImageFolder
from datasets.synthetic import HELD_OUT_SEED, SyntheticFaces


@pytest.fixture
def prepare_data(script, tmp_path):
    """Provide a function that runs the script on tmp_path/in and returns (exit code, stdout, stderr)."""

    def call(*flags, source=tmp_path / "in", out=tmp_path / "out.zip"):
        arguments = ["--data_path", source, "--out", out, "--resolution", 16, "--workers", 2]
        return script("prepare_data.py", *arguments, *flags)

    return call


@pytest.fixture(autouse=True)
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in {"cat/a.png": (20, 24), "cat/b.jpg": (40, 30), "dog/a.png": (16, 16)}.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
    return tmp_path / "in"


def test_a_folder_becomes_a_labelled_zip(prepare_data, tmp_path):
    code, printed, _ = prepare_data("--labels", "folders")
    assert code == 0
    assert "3 of 3 images at 16 px" in printed
    assert "2 classes: 0 cat (2), 1 dog (1)" in printed
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == ["cat/a.png", "cat/b.png", "dog/a.png", "dataset.json"]
        stored = json.loads(archive.read("dataset.json"))
    assert stored == {"labels": [["cat/a.png", 0], ["cat/b.png", 0], ["dog/a.png", 1]], "classes": ["cat", "dog"]}


def test_what_is_left_out_gives_exit_code_1(prepare_data, folder, tmp_path):
    (folder / "dog" / "b.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((15, 40, 3), np.uint8)).save(folder / "c.png")
    code, printed, failures = prepare_data(out=tmp_path / "out")
    assert code == 1
    assert "3 of 5 images" in printed
    assert "too_small: c.png: 40 x 15 pixels: less than 16" in failures
    assert "unreadable: dog/b.png:" in failures
    assert len((tmp_path / "out.left_out.txt").read_text().splitlines()) == 2
    code, printed, _ = prepare_data("--min_side", 10, "--crop", "none", out=tmp_path / "square")
    assert "1 of 5 images" in printed
    assert "3 aspect" in printed


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--resolution", 48], "the resolution must be a power of two from 8 to 4096, not 48"),
        (["--channels", 2], "--channels"),
        (["--crop", "left"], "--crop"),
        (["--workers", 0], "--workers must be from 1 to 1024, not 0"),
        (["--min_side", 0], "--min_side must be at least 1, not 0"),
        (["--max_aspect", 0.5], "--max_aspect must be at least 1, not 0.5"),
        (["--labels", "absent.csv"], "cannot read the labels of 'absent.csv': No such file or directory"),
        (["--data_path", "absent"], "there is no folder or zip file 'absent'"),
    ],
)
def test_mistakes_are_one_sentence(prepare_data, tmp_path, flags, words):
    code, _, failures = prepare_data(*flags)
    assert code == 2
    assert words in failures
    assert failures.startswith("error: ")
    assert failures.count("\n") == 1
    assert not (tmp_path / "out.zip").exists()


def test_an_empty_folder_and_a_place_among_the_photos_are_one_sentence(prepare_data, tmp_path, folder):
    (tmp_path / "empty").mkdir()
    code, _, failures = prepare_data(source=tmp_path / "empty")
    assert (code, failures.count("\n")) == (2, 1)
    assert "contains no images: give a folder or zip" in failures
    code, _, failures = prepare_data(out=folder / "prepared")
    assert (code, failures.count("\n")) == (2, 1)
    assert "--out must not be inside --data_path" in failures


def test_parts_hold_people_out(prepare_data, folder, tmp_path):
    for k in range(30):
        for expression in ("neutral", "smiling"):
            Image.fromarray(np.full((16, 16, 3), 7 * k, np.uint8)).save(folder / "dog" / f"{k:02d}_{expression}.png")
    stored = {}
    for part in ("all", "train", "held_out"):
        code, _, _ = prepare_data("--part", part, "--keep_duplicates", out=tmp_path / f"{part}.zip")
        assert code == 0
        with zipfile.ZipFile(tmp_path / f"{part}.zip") as archive:
            stored[part] = set(archive.namelist())
    assert stored["train"] | stored["held_out"] == stored["all"]
    assert not stored["train"] & stored["held_out"]
    assert len(stored["held_out"]) % 2 == 0


def test_procedural_faces_are_rendered_once(script, tmp_path):
    faces = tmp_path / "faces.zip"
    flags = ["--out", faces, "--resolution", 32, "--workers", 2]
    code, printed, _ = script("prepare_data.py", "--synthetic", 5, *flags)
    assert (code, printed.strip()) == (0, f"5 of 5 images at 32 px: {faces}")
    written, rendered = ImageFolder(faces, 32), SyntheticFaces(32)
    assert len(written) == 5
    assert all(np.array_equal(written[index], rendered.image(index)) for index in range(5))
    code, _, failures = script("prepare_data.py", "--synthetic", 5, *flags)
    assert code == 2
    assert "exists: remove it" in failures
    flags[1] = tmp_path / "held_out.zip"
    assert script("prepare_data.py", "--synthetic", 1, "--part", "held_out", *flags)[0] == 0
    assert np.array_equal(ImageFolder(flags[1], 32)[0], SyntheticFaces(32, HELD_OUT_SEED).image(0))
    flags = ["--exp_dir", tmp_path / "run", "--resolution", 32, "--channel_base", 64, "--channel_max", 4]
    flags += ["--batch_size", 4, "--total_nimg", 4, "--workers", 0, "--z_dim", 4, "--w_dim", 4]
    assert script("train_stylegan2.py", "--data", faces, *flags)[0] == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "give either --data_path, your photos, or --synthetic, a number of procedural faces"),
        (["--synthetic", 3, "--data", "in"], "give either --data_path, your photos, or --synthetic"),
        (["--synthetic", -3], "--synthetic must be a number of faces from 1 on, not -3"),
        (["--synthetic", 3, "--labels", "folders"], "--labels is for photos: leave it out with --synthetic"),
        (["--synthetic", 3, "--channels", 1], "--channels is for photos: leave it out with --synthetic"),
    ],
)
def test_photos_or_procedural_faces(script, tmp_path, flags, words):
    code, _, failures = script("prepare_data.py", "--out", tmp_path / "out.zip", "--resolution", 32, *flags)
    assert (code, failures.count("\n")) == (2, 1)
    assert words in failures
