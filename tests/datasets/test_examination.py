"""The examination of a folder of pictures, on pictures with known properties."""

import numpy as np
import pytest
from PIL import Image

from datasets.examination import evenly_spaced, examine
from datasets.folder import ImageFiles
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import write_image


def noise(seed, height, width, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def smooth(seed, height, width):
    small = Image.fromarray(noise(seed, 6, 6))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def test_sizes_shapes_colours_damage_and_copies(tmp_path):
    write_image(tmp_path / "a.png", smooth(1, 40, 60))
    write_image(tmp_path / "b" / "smaller.png", smooth(1, 20, 30))  # the same picture
    write_image(tmp_path / "c.png", noise(2, 50, 50, 1))
    write_image(tmp_path / "d.png", noise(3, 80, 40, 4))
    (tmp_path / "e.png").write_bytes((tmp_path / "c.png").read_bytes()[:500])
    examination = examine(ImageFiles(tmp_path), 100, 100)
    assert (examination.count, len(examination.readable), examination.searched) == (5, 4, 4)
    assert [look.name for look in examination.broken] == ["e.png"]
    assert examination.copies == [("b/smaller.png", "a.png")]
    assert (examination.side(0), examination.side(1), examination.side(1, longer=True)) == (20, 50, 80)
    assert examination.aspect == 1.25
    assert not examination.shows_faces
    lines = "\n".join(examination.lines())
    assert "pictures: 5, all read" in lines
    assert "2 wide" in lines
    assert "3 in colour, 1 gray; 1 with transparency" in lines
    assert "duplicates: 1, such as b/smaller.png of a.png" in lines


def test_different_pictures_of_one_colour_are_no_copies(tmp_path):
    for number in range(6):
        write_image(tmp_path / f"{number}.png", np.full((20, 20, 3), 40 * number, np.uint8))
    assert examine(ImageFiles(tmp_path), 9, 0).copies == []


@pytest.mark.parametrize(("folder", "aligned"), [("portraits256", True), ("photos", False)])
def test_faces_are_found_and_their_frame_told(photos, tmp_path, folder, aligned):
    for file in sorted((photos / folder).glob("*.jpg"))[:6]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    examination = examine(ImageFiles(tmp_path), 6, 4, workers=2)
    assert (examination.searched, examination.images_with_face) == (4, 4)
    assert examination.shows_faces
    assert examination.is_aligned == aligned


def test_a_part_is_spread_over_all():
    assert evenly_spaced(10, 5) == [0, 2, 4, 6, 8]
    assert evenly_spaced(3, 5) == [0, 1, 2]
    assert evenly_spaced(0, 5) == []


def test_a_folder_of_damage_is_one_sentence(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match="none of the 1 pictures can be read: a.png"):
        examine(ImageFiles(tmp_path), 9, 9)
