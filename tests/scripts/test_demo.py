import numpy as np
import pytest
from PIL import Image

from scripts import demo
from stylegan2.runtime.errors import ImageError
from stylegan2.runtime.images import find_images, read_image


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(demo, "RESOLUTION", 48)


def test_sample_photos_are_the_same_at_every_call(tmp_path):
    count = demo.write_sample_photos(tmp_path / "a")
    demo.write_sample_photos(tmp_path / "b")
    files = find_images(tmp_path / "a")
    assert len(files) == count
    assert all(file.read_bytes() == (tmp_path / "b" / file.name).read_bytes() for file in files)


def test_one_is_broken_on_purpose_and_one_lies_on_its_side(tmp_path):
    demo.write_sample_photos(tmp_path)
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        read_image(tmp_path / "broken.jpg")
    for file in set(find_images(tmp_path)) - {tmp_path / "broken.jpg"}:
        assert read_image(file).std() > 10
    with Image.open(tmp_path / "exif_rotated.jpg") as picture:
        stored = np.asarray(picture).astype(float)
    upright = read_image(tmp_path / "exif_rotated.jpg").astype(float)
    assert np.abs(np.rot90(stored, -1) - upright).mean() < 6
    assert np.abs(stored - upright).mean() > 20
