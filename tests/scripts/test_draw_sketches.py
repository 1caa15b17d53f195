import numpy as np
import pytest

from datasets.synthetic import SyntheticFaces
from scripts.draw_sketches import DrawSketches, main
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError


@pytest.fixture
def photos(tmp_path):
    faces = SyntheticFaces(64)
    for i, name in enumerate(("a.jpg", "deeper/b.png")):
        images.write_image(tmp_path / "photos" / name, faces.image(i))
    return tmp_path / "photos"


def call(photos, **settings):
    out = photos.parent / "out"
    return main(DrawSketches(photos, out, device="cpu", tune_malloc=False, edges="lines", **settings))


def test_every_photo_gets_a_drawing_of_its_name(photos):
    (photos / "broken.png").write_bytes(b"no image")
    assert call(photos, size=48) == 1
    drawings = images.find_images(photos.parent / "out")
    assert [str(file.relative_to(photos.parent / "out")) for file in drawings] == ["a.png", "deeper/b.png"]
    for file in drawings:
        drawing = images.read_image(file, "gray")
        assert drawing.shape == (48, 48, 1)
        assert np.median(drawing) == 255  # white paper
        assert 0.02 < (drawing < 128).mean() < 0.3  # with lines on it


def test_drawings_that_are_there_are_left_alone(photos):
    assert call(photos) == 0
    first = photos.parent / "out" / "a.png"
    first.write_bytes(b"mine")
    assert call(photos) == 0
    assert first.read_bytes() == b"mine"


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="no images"):
        call(tmp_path / "photos")
