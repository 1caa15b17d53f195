"""Targets of a projection: names, sizes, channels."""

import numpy as np
import pytest

from scripts.project import read_targets
from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.images import write_image


def picture(seed, shape=(40, 40, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_files_and_folders_once_each_under_names_of_their_own(tmp_path):
    for name in ("x/a.png", "x/deep/b.png", "y/a.png", "y/a.jpg"):
        write_image(tmp_path / name, picture(1))
    pictures = read_targets([tmp_path / "x", tmp_path / "y", tmp_path / "x" / "a.png"], 16, 3).pictures
    assert list(pictures) == ["x/a", "x/deep/b", "y/a_jpg", "y/a_png"]
    assert all(image.shape == (16, 16, 3) for image in pictures.values())
    assert list(read_targets([tmp_path / "x" / "a.png"], 16, 3).pictures) == ["a"]


def test_the_centre_square_is_taken(tmp_path):
    wide = np.full((16, 40, 3), 255, np.uint8)
    wide[:, 12:28] = picture(0, (16, 16, 3))
    write_image(tmp_path / "wide.png", wide)
    assert np.array_equal(read_targets([tmp_path], 16, 3).pictures["wide"], wide[:, 12:28])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_are_the_generators(tmp_path, channels):
    write_image(tmp_path / "a.png", picture(0))
    assert read_targets([tmp_path], 8, channels).pictures["a"].shape == (8, 8, channels)


def test_mistakes_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        read_targets([tmp_path / "nowhere"], 16, 3)
    with pytest.raises(UserError, match="contains no images"):
        read_targets([tmp_path], 16, 3)
    write_image(tmp_path / "a.png", picture(0))
    with pytest.raises(UserError, match="1, 3 or 4 channels, but this generator's images have 2"):
        read_targets([tmp_path], 16, 2)
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match=r"b.png' cannot be read as an image"):
        read_targets([tmp_path / "b.png"], 16, 3)


def test_one_bad_file_leaves_the_others(tmp_path):
    write_image(tmp_path / "a.png", picture(0))
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    targets = read_targets([tmp_path], 16, 3)
    assert list(targets.pictures) == ["a"]
    assert "b.png' cannot be read as an image" in targets.failed["b"]
