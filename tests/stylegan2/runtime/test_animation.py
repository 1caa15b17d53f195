"""Moving pictures: what Pillow reads back."""

import numpy as np
import pytest
from PIL import Image

from stylegan2.runtime.animation import write_animation
from stylegan2.runtime.errors import ImageError, UserError


def frames(count=5, channels=3):
    """Smooth colours, each frame another."""
    shade = np.linspace(0, 200, 24)[None, :, None] + np.zeros((24, 1, channels))
    return [(shade + 10 * k * np.arange(1, channels + 1) / channels).astype(np.uint8) for k in range(count)]


@pytest.mark.parametrize(("name", "tolerance"), [("a.gif", 3), ("a.WEBP", 6)])
@pytest.mark.parametrize("channels", [1, 3])
def test_frames_come_back(tmp_path, name, tolerance, channels):
    written = frames(channels=channels)
    write_animation(tmp_path / "new" / name, written, fps=25)
    with Image.open(tmp_path / "new" / name) as image:
        assert image.n_frames == 5
        assert image.info["loop"] == 0
        for k in range(5):
            image.seek(k)
            found = np.asarray(image.convert("RGB")).astype(int)
            assert np.abs(found - written[k]).mean() < tolerance
            assert image.info["duration"] == 40


def test_mistakes_are_one_sentence(tmp_path):
    with pytest.raises(ImageError, match=r"are written as .gif or .webp"):
        write_animation(tmp_path / "a.mp4", frames())
    for fps in (0, 51, float("nan")):
        with pytest.raises(UserError, match="more than 0 and at most 50 frames a second"):
            write_animation(tmp_path / "a.gif", frames(), fps)
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="cannot write"):
        write_animation(tmp_path / "file" / "a.gif", frames())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
