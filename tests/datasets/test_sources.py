import numpy as np
import pytest

from datasets.pack import cache_folder
from datasets.sources import open_held_out, open_images, open_split
from datasets.synthetic import HELD_OUT_SEED, SyntheticFaces
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import write_image


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def folder(path, count, value):
    for n in range(count):
        write_image(path / f"{n:03d}.png", np.full((8, 8, 3), value + n, np.uint8))
    return str(path)


def values(pixels):
    return [int(pixels[i][0, 0, 0]) for i in range(len(pixels))]


def test_synthetic_faces_come_from_the_cache(monkeypatch):
    faces = SyntheticFaces(32).image(3)
    assert np.array_equal(open_images("synthetic", 32)[3], faces)
    assert len(list(cache_folder().glob("*.u8"))) == 1
    monkeypatch.delattr(SyntheticFaces, "image")  # nothing is rendered again
    assert np.array_equal(open_images("synthetic", 32)[3], faces)


def test_held_out_faces_are_other_people():
    training, held_out = open_split("synthetic", None, 32)
    assert np.array_equal(training[0], SyntheticFaces(32).image(0))
    assert np.array_equal(held_out[0], SyntheticFaces(32, seed=HELD_OUT_SEED).image(0))
    assert not np.array_equal(training[0], held_out[0])
    assert np.array_equal(open_held_out("synthetic", 32)[0], held_out[0])


def test_each_resolution_has_a_cache_of_its_own():
    assert open_images("synthetic", 32)[0].shape == (32, 32, 3)
    assert open_images("synthetic", 48)[0].shape == (48, 48, 3)


def test_a_folder_is_split_once_and_for_all(tmp_path):
    data = folder(tmp_path / "data", 40, 0)
    training, held_out = open_split(data, None, 8)
    assert (len(training), len(held_out)) == (38, 2)
    assert sorted(values(training) + values(held_out)) == list(range(40))
    assert values(open_split(data, None, 8)[1]) == values(held_out)


def test_test_data_leave_all_of_the_data_for_training(tmp_path):
    data, test_data = folder(tmp_path / "data", 5, 0), folder(tmp_path / "test", 3, 100)
    training, held_out = open_split(data, test_data, 8)
    assert values(training) == [0, 1, 2, 3, 4]
    assert values(held_out) == [100, 101, 102]
    assert values(open_held_out(data, 8)) == [0, 1, 2, 3, 4]


def test_gray_folders(tmp_path):
    assert open_images(folder(tmp_path / "data", 1, 9), 8, channels=1)[0].shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("data", "resolution", "channels", "words"),
    [
        ("synthetic", 32, 1, "the procedural faces have 3 channels, not 1: give a folder with --data"),
        ("synthetic", 16, 3, "rendered at 32 to 512 pixels, not 16"),
        ("synthetic", 1024, 3, "rendered at 32 to 512 pixels, not 1024"),
        ("no/such/folder", 32, 3, "there is no folder or zip file 'no/such/folder'"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(data, resolution, channels, words):
    with pytest.raises(UserError, match=words):
        open_images(data, resolution, channels)
