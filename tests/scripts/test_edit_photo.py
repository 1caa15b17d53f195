"""psp edit with a photo or a clip, from file to file."""

import numpy as np
import pytest
import torch
from PIL import Image

from psp import loading
from stylegan2.latents.directions import build_directions, load_directions, save_directions
from stylegan2.latents.sampling import random_w
from stylegan2.loading import PRETRAINED
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.images import read_image

av = pytest.importorskip("av")


@pytest.fixture
def edit(script, model_file, tmp_path, build_model):
    """Run the command with a small model and directions of its generator: (exit code, stdout, stderr)."""
    generator = build_model().generator
    w = random_w(generator, 500, seed=0)
    directions = build_directions(generator, ["smile", "yaw"], torch.eye(16)[:2], range(generator.num_ws), w)
    save_directions(tmp_path / "d.safetensors", directions, {"generator": str(model_file)})
    common = ["--generator", model_file, "--directions", "d.safetensors", "--device", "cpu"]
    return lambda *arguments: script("edit.py", *arguments, *common)


@pytest.fixture
def me(photos, tmp_path):
    """Provide a photograph of a face, 256 px a side."""
    file = sorted((photos / "photos").glob("*.jpg"))[0]
    Image.open(file).convert("RGB").resize((256, 256)).save(tmp_path / "me.jpg", quality=95)
    return tmp_path / "me.jpg"


def test_a_photo_is_edited_and_the_face_laid_back(edit, me):
    code, out, err = edit("me.jpg", "--direction", "smile=+2", "--pivotal", "3", "--paste_back", "--out", "smile.jpg")
    assert code == 0, err
    assert "written: smile.jpg" in out
    before, after = read_image("me.jpg").astype(int), read_image("smile.jpg").astype(int)
    assert before.shape == after.shape
    change = np.abs(before - after).mean(2)
    assert change[90:130, 110:150].mean() > 10  # amid the face
    assert change[-15:].mean() < 4  # the rest of the photo, up to JPEG
    code, _, err = edit("me.jpg", "--direction", "smile=+2", "--out", "smile.jpg")
    assert code == 2
    assert "'smile.jpg' exists already" in err


def test_an_aligned_picture_and_two_directions(edit, me):
    code, out, err = edit("me.jpg", "--direction", "smile=0", "--no_align", "--out", "zero.png")
    assert code == 0, err
    code, out, err = edit("me.jpg", "--direction", "smile=3,yaw=9", "--no_align")
    assert code == 0, err
    assert "written: me_edited.png" in out
    assert "yaw ends at +" in err  # 9 deviations is too far
    edited, zero = read_image("me_edited.png").astype(int), read_image("zero.png").astype(int)
    assert edited.shape == (32, 32, 3)
    assert np.abs(edited - zero).mean() > 1


def test_others_directions_are_taken(edit, me):
    np.save("age.npy", np.ones((1, 16), np.float32))
    code, _, err = edit("me.jpg", "--direction", "age=1", "--directions", "age.npy", "--no_align", "--out", "age.png")
    assert code == 0, err
    assert "there is no direction 'wit'; there are age, smile, yaw" in edit(
        "me.jpg", "--direction", "wit=1", "--directions", "age.npy", "--no_align", "--out", "wit.png"
    )[2]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["me.jpg"], "give an edit: --direction NAME=STRENGTH"),
        (["me.jpg", "--direction", "smile"], "such as smile=+2 or smile=+2,yaw=-1"),
        (["me.jpg", "--direction", "wit=1"], "there is no direction 'wit'; there are smile, yaw"),
        (["no.jpg", "--direction", "smile=1"], "there is no file 'no.jpg'"),
        (["sky.png", "--direction", "smile=1"], "no face was found in 'sky.png'"),
        (["text.jpg", "--direction", "smile=1"], "text.jpg"),
        (["--direction", "smile=1"], "are for a photo or a clip: give one"),
        (["me.jpg", "--direction", "smile=1", "--paste_back", "--no_align"], "leave out --no_align"),
        (["me.jpg", "--direction", "smile=1", "--faces", "all"], "give --paste_back too"),
        (["me.jpg", "--direction", "smile=1", "--latents", "x.npz"], "give only one of them"),
        (["me.jpg", "--direction", "smile=1", "--directions", "other.safetensors"], "found for another generator"),
    ],
)
def test_mistakes_are_one_sentence(edit, me, arguments, words):
    Image.new("RGB", (128, 128), (90, 140, 220)).save("sky.png")
    (me.parent / "text.jpg").write_text("no picture")
    torch.manual_seed(1)
    other = GENERATORS.build("stylegan2", 32, z_dim=16, w_dim=16, channel_base=256, channel_max=16)
    save_directions(
        me.parent / "other.safetensors", build_directions(other, ["x"], torch.eye(16)[:1], [0], torch.eye(16)), {}
    )
    code, _, err = edit(*arguments)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


def test_the_shipped_model_has_directions_of_its_own(script, me):
    directions, _ = load_directions(PRETRAINED.locate("portraits64_directions"))
    assert {"smile", "yaw", "glasses"} <= set(directions.names)
    directions.check(loading.load("portraits64_inversion")[0].generator)
    code, _, err = script("edit.py", "me.jpg", "--direction", "smile=2", "--out", "s.png", "--device", "cpu")
    assert code == 0, err
    assert read_image("s.png").shape == (64, 64, 3)
    code, _, err = script("edit.py", "--seeds", "0-1", "--names", "yaw", "--strengths", "0,2", "--device", "cpu")
    assert code == 0, err
    assert read_image("runs/edited-samples/yaw/seed0001_+2.png").shape == (64, 64, 3)


def test_a_clip_is_edited_where_its_face_is(edit, me):
    picture = read_image("me.jpg")
    with av.open("clip.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        for n in range(4):
            shown = np.roll(picture, 2 * n, axis=1) if n != 2 else np.full_like(picture, 90)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())
    code, out, err = edit("clip.mp4", "--direction", "smile=2", "--pivotal", "2", "--out", "new.mp4")
    assert code == 0, err
    assert "new.mp4: the face was edited in 3 of 4 frames" in out
    with av.open("new.mp4") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 4
    assert np.abs(frames[2].astype(int) - 90).mean() < 3
    assert np.abs(frames[0].astype(int) - picture)[90:130, 110:150].mean() > 10
