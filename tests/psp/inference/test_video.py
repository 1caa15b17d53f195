"""Clips: what is written is what was read, except for the face; times, sound and frames without a face stay."""

import numpy as np
import pytest
import torch

from psp.inference import video
from psp.inference.detect import Face
from psp.inference.editing import plan_moves
from psp.inference.translate import Refinement
from psp.inference.video import edit_video, follow_face, read_video, smooth, upright, write_video
from psp.losses import build_losses
from stylegan2.runtime.errors import UserError
from tests.psp.inference.test_editing import directions, model  # noqa: F401

av = pytest.importorskip("av")
HEIGHT, WIDTH, FRAMES = 96, 128, 8
FIVE = np.array([[-10.0, -8.0], [10.0, -8.0], [0.0, 2.0], [-7.0, 12.0], [7.0, 12.0]])  # eyes, nose, mouth corners


def centre(n):
    """Where the face is in frame n: it moves to the right."""
    return np.array([40.0 + 5 * n, 48.0])


def frame(n):
    """A smooth picture with a bright disk, the face, whose red says where its centre is."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    picture = np.stack([x, y, 0 * x + 60], axis=2).astype(np.uint8)
    cx, cy = centre(n)
    picture[(x - cx) ** 2 + (y - cy) ** 2 < 15**2] = (250, 230, 200)
    return picture


def detect(picture):
    """Find the disk, as a face with five landmarks; none where there is no disk."""
    y, x = np.nonzero(picture[..., 2] > 150)
    if len(x) < 100:
        return []
    middle = np.array([x.mean(), y.mean()])
    box = (*(middle - 20), *(middle + 20))
    return [Face(box, middle + FIVE, 1.0), Face((0, 0, 5, 5), FIVE + 10, 1.0)]


@pytest.fixture
def clip(tmp_path):
    """Eight frames of which the fourth has no face, 0.1 s apart, with a second of sound."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=16000, layout="mono")
        for n in range(FRAMES):
            picture = frame(n)
            if n == 3:
                picture[picture[..., 2] > 100] = 60
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
        wave = np.sin(np.arange(16000) / 10).astype(np.float32)[None]
        samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        samples.sample_rate = 16000
        container.mux(sound.encode(samples))
        container.mux(sound.encode())
    return path


class Task:
    """What inversion does with a picture."""

    aligns = True

    def read_source(self, picture, size, native_side):
        return torch.from_numpy(picture / 127.5 - 1).permute(2, 0, 1).float(), picture


def sound_of(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


def test_frames_times_and_sound_are_kept(clip, tmp_path):
    frames = list(read_video(clip))
    assert [shown for _, shown in frames] == pytest.approx([n / 10 for n in range(FRAMES)])
    assert frames[0][0].shape == (HEIGHT, WIDTH, 3)
    for name in ("out.mp4", "out.mkv", "out.mov"):
        write_video(clip, tmp_path / name, (picture for picture, _ in frames))
        again = list(read_video(tmp_path / name))
        assert [shown for _, shown in again] == pytest.approx([shown for _, shown in frames], abs=2e-3)
        for (before, _), (after, _) in zip(frames, again, strict=True):
            assert np.abs(before.astype(int) - after).mean() < 2
        assert sound_of(tmp_path / name) == sound_of(clip)


def test_odd_sides_are_written(clip, tmp_path):
    write_video(clip, tmp_path / "odd.mp4", iter([np.zeros((95, 127, 3), np.uint8)] * FRAMES))
    assert next(read_video(tmp_path / "odd.mp4"))[0].shape == (95, 127, 3)


def test_a_phones_rotation_is_undone():
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
    assert (upright(picture, 0) == picture).all()
    assert (upright(picture, 90)[..., 0] == [[2, 5], [1, 4], [0, 3]]).all()  # counter-clockwise
    assert (upright(picture, -90)[..., 0] == [[3, 0], [4, 1], [5, 2]]).all()
    assert (upright(picture, 180)[..., 0] == [[5, 4, 3], [2, 1, 0]]).all()


def test_the_largest_face_is_followed(clip):
    found = follow_face(clip, detect, smoothing=0)
    assert [points is None for points in found.landmarks] == [n == 3 for n in range(FRAMES)]
    assert found.faces == FRAMES - 1
    for n, points in enumerate(found.landmarks):
        if points is not None:
            np.testing.assert_allclose(points.mean(0) - FIVE.mean(0), centre(n), atol=1)


def test_landmarks_are_smoothed_within_a_run_alone():
    rng = np.random.default_rng(0)
    noisy = [FIVE + rng.normal(size=(5, 2)) for _ in range(40)]
    still = smooth(noisy, [n / 25 for n in range(40)], 0.08)
    assert np.std([p - FIVE for p in still]) < 0.55 * np.std([p - FIVE for p in noisy])
    gap = smooth([FIVE, FIVE, None, FIVE + 50, FIVE + 50], [0, 0.04, 0.08, 0.12, 0.16], 0.08)
    assert gap[2] is None
    np.testing.assert_allclose(gap[1], FIVE)  # nothing of the other run is mixed in
    np.testing.assert_allclose(gap[3], FIVE + 50)
    straight = [FIVE + n for n in range(9)]
    np.testing.assert_allclose(smooth(straight, range(9), 1.0)[4], straight[4])  # a steady motion has no lag


def test_a_clip_is_edited(clip, tmp_path, model, directions):  # noqa: F811
    moves = plan_moves([directions], {"smile": 2.0})
    refinement = Refinement(build_losses({"l2": 1.0}), pivotal_steps=5)
    found = edit_video(model, clip, tmp_path / "out.mp4", Task(), detect, moves, refinement)
    assert found.faces == FRAMES - 1
    before, after = ([picture.astype(int) for picture, _ in read_video(p)] for p in (clip, tmp_path / "out.mp4"))
    for n in range(FRAMES):
        change = np.abs(before[n] - after[n]).mean(2)
        x, y = centre(n).astype(int)
        assert (change[y - 5 : y + 5, x - 5 : x + 5].mean() > 10) == (n != 3)
        assert change[:, :5].mean() < 3 if x > 60 else True
    assert np.abs(before[3] - after[3]).mean() < 2
    assert sound_of(tmp_path / "out.mp4") == sound_of(clip)
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "out.mp4"}


def test_mistakes_are_one_sentence(clip, tmp_path, model, directions, monkeypatch):  # noqa: F811
    moves = plan_moves([directions], {"smile": 2.0})
    with pytest.raises(UserError, match=r"a clip must be written as \.mp4, \.mov, \.mkv, not as 'out\.gif'"):
        edit_video(model, clip, tmp_path / "out.gif", Task(), detect, moves)
    with pytest.raises(UserError, match="no face was found in any of the 8 frames"):
        edit_video(model, clip, tmp_path / "out.mp4", Task(), lambda _: [], moves)
    (tmp_path / "broken.mp4").write_bytes(clip.read_bytes()[:300])
    with pytest.raises(UserError, match=r"broken\.mp4' cannot be read as a video"):
        list(read_video(tmp_path / "broken.mp4"))
    with pytest.raises(UserError, match="cannot be read as a video"):
        list(read_video(tmp_path / "nothing.mp4"))
    assert not (tmp_path / "out.mp4").exists()
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match="not installed: pip install av"):
        list(video.read_video(clip))
