"""Choosing readers, and what they make of files."""

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.tasks import build_task
from psp.inference.detect import Face
from psp.inference.photos import AlignedReader, FaceReader, Photo, build_reader, read_photos
from stylegan2.runtime.errors import UserError

INVERSION = build_task("inversion")
FIVE = np.array([[40.0, 50.0], [60.0, 50.0], [50.0, 62.0], [43.0, 72.0], [57.0, 72.0]])


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def two_faces(image):
    return [Face((0, 0, 200, 200), FIVE * 2, 1.0), Face((0, 0, 9, 9), FIVE + 5, 1.0)]


def test_face_reader_takes_the_largest_or_all(tmp_path):
    file = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (300, 280, 3), dtype=np.uint8))
    (photo,) = read_photos([file], FaceReader(INVERSION, 48, two_faces), 1)
    assert photo.status == "ok"
    assert len(photo.portraits) == 1
    assert photo.portraits[0].picture.shape == (48, 48, 3)
    torch.testing.assert_close(
        (photo.portraits[0].source + 1) * 127.5, torch.tensor(photo.portraits[0].picture).permute(2, 0, 1).float()
    )
    (photo,) = read_photos([file], FaceReader(INVERSION, 48, two_faces, every_face=True), 1)
    assert [portrait.face.box[2] for portrait in photo.portraits] == [200, 9]


@pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), FIVE + 5000])
def test_landmarks_of_no_face_are_no_face(tmp_path, landmarks):
    file = save(tmp_path / "a.png", np.zeros((100, 100, 3), np.uint8))
    reader = FaceReader(INVERSION, 48, lambda image: [Face((0, 0, 9, 9), landmarks, 1.0)])
    (photo,) = read_photos([file], reader, 1)
    assert (photo.status, photo.portraits) == ("no_face", [])


def test_unreadable_files_do_not_stop_the_others(tmp_path):
    good = save(tmp_path / "b.png", np.zeros((30, 40, 3), np.uint8))
    bad = tmp_path / "a.png"
    bad.write_bytes(b"nothing")
    first, second = read_photos([bad, good], AlignedReader(INVERSION, 16), 2)
    assert first.status == "unreadable"
    assert "a.png" in first.reason
    assert second.portraits[0].picture.shape == (16, 16, 3)


def test_label_maps_become_one_channel_per_class(tmp_path):
    labels = np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2), np.ones((8, 8), np.uint8))
    file = save(tmp_path / "a.png", labels)
    (photo,) = read_photos([file], AlignedReader(build_task("segmentation", label_nc=4), 64, 32), 1)
    source = photo.portraits[0].source
    assert source.shape == (4, 32, 32)
    assert torch.equal(source.sum(0), torch.ones(32, 32))
    assert source.argmax(0)[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0, 1, 2, 3]
    assert photo.portraits[0].picture.shape == (64, 64, 3)
    assert len(np.unique(photo.portraits[0].picture.reshape(-1, 3), axis=0)) == 4
    (photo,) = read_photos([file], AlignedReader(build_task("segmentation", label_nc=3), 32), 1)
    assert photo.status == "unreadable"
    assert "label 3" in photo.reason


def test_transparency_comes_through_the_alignment_as_a_hole(tmp_path):
    pixels = np.full((300, 280, 4), 200, np.uint8)
    pixels[..., 3] = 255
    pixels[90:110, 90:130] = (255, 0, 0, 0)  # between the eyes of the first face, in a colour that must not show
    file = save(tmp_path / "a.png", pixels)
    (photo,) = read_photos([file], FaceReader(build_task("inpainting"), 64, two_faces, input_size=32), 1)
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
    assert build_reader(inversion, 64, 256, aligning=False) == AlignedReader(inversion, 256, 64)
    assert build_reader(inversion, 64, 32, aligning=False) == AlignedReader(inversion, 64, 64)
    assert build_reader(segmentation, 64, 256, aligning=False) == AlignedReader(segmentation, 256, 64)
    with pytest.raises(UserError, match="leave out the alignment"):
        build_reader(segmentation, 64, 256, aligning=True)


def test_whatever_is_wrong_with_one_photo_the_others_are_done(tmp_path):
    def reader(file):
        if file.name == "b.png":
            raise ValueError("a detector's\nmistake")
        return Photo(file, "ok")

    found = list(read_photos([tmp_path / f"{name}.png" for name in "abc"], reader, workers=2))
    assert [photo.status for photo in found] == ["ok", "failed", "ok"]
    assert found[1].reason == "ValueError: a detector's mistake"
