"""Reading ahead, choosing readers, and names that never collide."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datasets.photos import (
    AlignedReader,
    FaceReader,
    build_reader,
    list_photos,
    ordered_map,
    read_photos,
)
from datasets.report import Names
from datasets.tasks import build_task
from psp.detect import Face
from stylegan2.runtime.errors import UserError

FIVE = np.array([[40.0, 50.0], [60.0, 50.0], [50.0, 62.0], [43.0, 72.0], [57.0, 72.0]])


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_ordered_map_keeps_the_order(workers):
    assert list(ordered_map(lambda x: x * x, range(20), workers)) == [x * x for x in range(20)]


def test_ordered_map_does_not_run_far_ahead():
    started, lock = [], threading.Lock()

    def work(x):
        with lock:
            started.append(x)
        return x

    results = ordered_map(work, range(100), 2)
    assert not started
    next(results)
    assert len(started) <= 6
    results.close()
    assert len(started) <= 6


def test_ordered_map_raises_what_the_function_raises():
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda x: 1 // x, [1, 0], 2))


segment = st.sampled_from(["a", "A", "b", "a_jpg", "a_png", "a_face1", "a_2", "a.png", "b.c"])


@given(
    st.sets(
        st.tuples(st.lists(segment, max_size=2), segment, st.sampled_from([".jpg", ".png", ".JPG"])).map(
            lambda parts: "/".join([*parts[0], parts[1] + parts[2]])
        ),
        min_size=1,
        max_size=12,
    )
)
def test_names_are_unique_and_writable(paths):
    """Every result is its own file on a disk that does not tell case, and no result is where a folder has to be."""
    root = Path("root")
    files = [root / path for path in sorted(paths)]
    names = Names(files, root)
    found = [names.of_face(file, index) for file in files for index in range(3)]
    results = [f"{name}.png".casefold() for name in found]
    assert len(set(results)) == len(results)
    folders = {str(parent).casefold() for name in found for parent in Path(name).parents}
    assert not folders & set(results)
    assert found == [again.of_face(f, i) for again in [Names(files, root)] for f in files for i in range(3)]
    assert [Path(name).parent for name in found[::3]] == [file.relative_to(root).parent for file in files]


def test_names_stay_plain_where_they_can():
    root = Path("r")
    names = Names([root / "a/x.jpg", root / "b/x.png", root / "y.v2.jpg", root / "z.jpg", root / "z.png"], root)
    assert list(names.of_file.values()) == ["a/x", "b/x", "y.v2", "z_jpg", "z_png"]
    assert names.of_face(root / "a/x.jpg", 2) == "a/x_face2"


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def test_list_photos(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    first = save(tmp_path / "in" / "a.png", pixels)
    second = save(tmp_path / "in" / "deep" / "b.JPG", pixels)
    save(tmp_path / "in" / "out" / "results" / "c.png", pixels)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    assert list_photos(tmp_path / "in", [tmp_path / "in" / "out"]) == [first, second]
    assert list_photos(first) == [first]
    with pytest.raises(UserError, match="no folder"):
        list_photos(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        list_photos(tmp_path / "empty")


def two_faces(image):
    return [Face((0, 0, 200, 200), FIVE * 2, 1.0), Face((0, 0, 9, 9), FIVE + 5, 1.0)]


def test_face_reader_takes_the_largest_or_all(tmp_path):
    file = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (300, 280, 3), dtype=np.uint8))
    (photo,) = read_photos([file], FaceReader(48, two_faces), 1)
    assert photo.status == "ok"
    assert len(photo.portraits) == 1
    assert photo.portraits[0].picture.shape == (48, 48, 3)
    torch.testing.assert_close(
        (photo.portraits[0].source + 1) * 127.5, torch.tensor(photo.portraits[0].picture).permute(2, 0, 1).float()
    )
    (photo,) = read_photos([file], FaceReader(48, two_faces, every_face=True), 1)
    assert [portrait.face.box[2] for portrait in photo.portraits] == [200, 9]


@pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), FIVE + 5000])
def test_landmarks_of_no_face_are_no_face(tmp_path, landmarks):
    file = save(tmp_path / "a.png", np.zeros((100, 100, 3), np.uint8))
    reader = FaceReader(48, lambda image: [Face((0, 0, 9, 9), landmarks, 1.0)])
    (photo,) = read_photos([file], reader, 1)
    assert (photo.status, photo.portraits) == ("no_face", [])


def test_unreadable_files_do_not_stop_the_others(tmp_path):
    good = save(tmp_path / "b.png", np.zeros((30, 40, 3), np.uint8))
    bad = tmp_path / "a.png"
    bad.write_bytes(b"nothing")
    first, second = read_photos([bad, good], AlignedReader(16), 2)
    assert first.status == "unreadable"
    assert "a.png" in first.reason
    assert second.portraits[0].picture.shape == (16, 16, 3)


def test_label_maps_become_one_channel_per_class(tmp_path):
    labels = np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2), np.ones((8, 8), np.uint8))
    file = save(tmp_path / "a.png", labels)
    (photo,) = read_photos([file], AlignedReader(64, build_task("segmentation", label_nc=4), 32), 1)
    source = photo.portraits[0].source
    assert source.shape == (4, 32, 32)
    assert torch.equal(source.sum(0), torch.ones(32, 32))
    assert source.argmax(0)[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0, 1, 2, 3]
    assert photo.portraits[0].picture.shape == (64, 64, 3)
    assert len(np.unique(photo.portraits[0].picture.reshape(-1, 3), axis=0)) == 4
    (photo,) = read_photos([file], AlignedReader(32, build_task("segmentation", label_nc=3)), 1)
    assert photo.status == "unreadable"
    assert "label 3" in photo.reason


def test_transparency_comes_through_the_alignment_as_a_hole(tmp_path):
    pixels = np.full((300, 280, 4), 200, np.uint8)
    pixels[..., 3] = 255
    pixels[90:110, 90:130] = (255, 0, 0, 0)  # between the eyes of the first face, in a colour that must not show
    file = save(tmp_path / "a.png", pixels)
    (photo,) = read_photos([file], FaceReader(64, two_faces, task=build_task("inpainting"), input_size=32), 1)
    (portrait,) = photo.portraits
    assert portrait.source.shape == (4, 32, 32)
    hole = portrait.source[3] > 0.5
    assert 0.02 < hole.float().mean() < 0.5
    assert hole.any(0).float().argmax() > 2
    assert portrait.source[:3, hole].abs().max() == 0
    assert (portrait.source[:3, ~hole] - (200 / 127.5 - 1)).abs().max() < 0.1
    assert np.ptp(portrait.picture.reshape(-1, 3), axis=1).max() < 8  # nothing red


def test_build_reader_follows_the_task():
    inversion, segmentation = build_task("inversion"), build_task("segmentation")
    assert build_reader(inversion, 64, 256, aligning=False) == AlignedReader(256, inversion, 64)
    assert build_reader(inversion, 64, 32, aligning=False) == AlignedReader(64, inversion, 64)
    assert build_reader(segmentation, 64, 256, aligning=False) == AlignedReader(256, segmentation, 64)
    with pytest.raises(UserError, match="--no_align"):
        build_reader(segmentation, 64, 256, aligning=True)
