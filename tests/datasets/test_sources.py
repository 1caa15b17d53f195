import zipfile

import numpy as np
import pytest

from datasets.disk_cache import cache_folder
from datasets.sources import open_examples, open_images, open_labels, open_split
from datasets.synthetic import HELD_OUT_SEED, SyntheticFaces
from datasets.tasks import build_task
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import write_image

pytestmark = pytest.mark.usefixtures("own_cache")


def folder(path, count, value):
    for n in range(count):
        write_image(path / f"{n:03d}.png", np.full((8, 8, 3), value + n, np.uint8))
    return str(path)


INVERSION = build_task("inversion")


def values(items):
    arrays = [getattr(items[i], "target", items[i]) for i in range(len(items))]
    return [int(array[0, 0, 0]) for array in arrays]


def test_synthetic_faces_come_from_the_cache(monkeypatch):
    faces = SyntheticFaces(32).image(3)
    assert np.array_equal(open_images("synthetic", 32)[3], faces)
    assert len(list(cache_folder().glob("*.u8"))) == 1
    monkeypatch.delattr(SyntheticFaces, "image")  # nothing is rendered again
    assert np.array_equal(open_images("synthetic", 32)[3], faces)


def test_held_out_faces_are_other_people():
    training, held_out = open_split(INVERSION, "synthetic", 32)
    assert np.array_equal(training[0].target, SyntheticFaces(32).image(0))
    assert np.array_equal(held_out[0].target, SyntheticFaces(32, seed=HELD_OUT_SEED).image(0))
    assert not np.array_equal(training[0].target, held_out[0].target)


def test_plain_pictures_share_the_cache_of_the_generators_training(monkeypatch):
    face = open_images("synthetic", 32)[5]
    monkeypatch.delattr(SyntheticFaces, "image")
    assert np.array_equal(open_examples(INVERSION, "synthetic", 32)[5].target, face)
    assert len(list(cache_folder().glob("*.u8"))) == 1


def test_rendered_pairs_come_from_the_cache(monkeypatch):
    faces = SyntheticFaces(32)
    segmentation, frontalization = build_task("segmentation"), build_task("frontalization")
    expected = [task.render(faces, 4) for task in (segmentation, frontalization)]
    first = [open_examples(task, "synthetic", 32)[4] for task in (segmentation, frontalization)]
    opened = [open_examples(task, "synthetic", 32) for task in (build_task("sketch"), frontalization)]
    monkeypatch.delattr(SyntheticFaces, "image")
    monkeypatch.delattr(SyntheticFaces, "sample")
    again = [examples[4] for examples in opened]  # a sketch is drawn from what a segmentation rendered
    for example, *others in zip(expected, first, again, strict=True):
        for other in others:
            assert np.array_equal(other.target, example.target)
            assert np.array_equal(other.source, example.source)
            assert other.source.shape == example.source.shape
    assert len(list(cache_folder().glob("*.u8"))) == 2
    assert first[0].source.shape == (32, 32)
    assert first[1].source.shape == (32, 32, 3)


def test_each_resolution_has_a_cache_of_its_own():
    assert open_images("synthetic", 32)[0].shape == (32, 32, 3)
    assert open_images("synthetic", 48)[0].shape == (48, 48, 3)


def test_a_folder_is_split_once_and_for_all(tmp_path):
    data = folder(tmp_path / "data", 40, 0)
    training, held_out = open_split(INVERSION, data, 8)
    assert (len(training), len(held_out)) == (38, 2)
    assert sorted(values(training) + values(held_out)) == list(range(40))
    assert values(open_split(INVERSION, data, 8)[1]) == values(held_out)


def test_test_data_leave_all_of_the_data_for_training(tmp_path):
    data, test_data = folder(tmp_path / "data", 5, 0), folder(tmp_path / "test", 3, 100)
    training, held_out = open_split(INVERSION, data, 8, test_data=test_data)
    assert values(training) == [0, 1, 2, 3, 4]
    assert values(held_out) == [100, 101, 102]


def test_gray_folders(tmp_path):
    assert open_images(folder(tmp_path / "data", 1, 9), 8, channels=1)[0].shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("data", "resolution", "channels", "words"),
    [
        ("synthetic", 32, 1, "procedural faces have 3 channels, not 1: use a folder of images"),
        ("synthetic", 16, 3, "rendered at 32 to 512 pixels, not 16"),
        ("synthetic", 1024, 3, "rendered at 32 to 512 pixels, not 1024"),
        ("no/such/folder", 32, 3, "there is no folder or zip file 'no/such/folder'"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(data, resolution, channels, words):
    with pytest.raises(UserError, match=words):
        open_images(data, resolution, channels)


def test_sources_of_ones_own_are_matched_and_split_with_their_images(tmp_path):
    data, sources = folder(tmp_path / "data", 40, 0), folder(tmp_path / "sources", 40, 100)
    training, held_out = open_split(INVERSION, data, 8, sources)
    assert (len(training), len(held_out)) == (38, 2)
    for part in (training, held_out):
        for i in range(len(part)):
            assert int(part[i].source[0, 0, 0]) == int(part[i].target[0, 0, 0]) + 100
    test = folder(tmp_path / "test", 3, 50), folder(tmp_path / "test_sources", 3, 60)
    training, held_out = open_split(INVERSION, data, 8, sources, *test)
    assert (len(training), len(held_out)) == (40, 3)
    assert int(held_out[2].source[0, 0, 0]) == 62


@pytest.mark.parametrize(
    ("task", "arguments", "words"),
    [
        ("segmentation", {}, "cannot derive its sources from images: give a folder of them as source_data"),
        ("inversion", {"test_source_data": "there"}, "give test_data too"),
        (
            "inversion",
            {"data": "synthetic", "source_data": "there"},
            "give source_data only for images of your own in `data`",
        ),
    ],
)
def test_sources_that_cannot_be_had_are_one_sentence(tmp_path, task, arguments, words):
    data = folder(tmp_path / "data", 2, 0)
    with pytest.raises(UserError, match=words):
        open_split(build_task(task), **{"data": data, "resolution": 32, **arguments})


@pytest.mark.parametrize("zipped", [False, True])
def test_subfolders_are_classes(tmp_path, zipped):
    root = tmp_path / "pets"
    for name, count, value in (("dogs", 2, 100), ("cats", 3, 10), ("birds/small", 1, 200)):
        folder(root / name, count, value)
    if zipped:
        with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
            for file in root.rglob("*.png"):
                archive.write(file, file.relative_to(root))
        root = tmp_path / "pets.zip"
    pixels = open_images(str(root), 8)
    labels = open_labels(pixels, str(root))
    assert labels.dtype == np.int64
    expected = {200: 0, 10: 1, 11: 1, 12: 1, 100: 2, 101: 2}
    assert [expected[value] for value in values(pixels)] == labels.tolist()


def test_data_without_labels_are_one_sentence(tmp_path):
    plain = folder(tmp_path / "plain", 3, 10)
    for data in (plain, "synthetic"):
        with pytest.raises(UserError, match="has no labels: give a folder or zip with a subfolder for each class"):
            open_labels(open_images(data, 32), data)
