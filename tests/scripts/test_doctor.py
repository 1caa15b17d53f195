"""psp doctor: what it finds, what it proposes for it, and how long that would take."""

from pathlib import Path

import numpy as np
import pytest

from stylegan2.runtime.images import write_image


@pytest.fixture
def wide(tmp_path):
    """Pictures that are twice as wide as high, and of nothing."""
    for number in range(5):
        colours = np.random.default_rng(number).integers(0, 256, (70, 140, 3), np.uint8)
        write_image(tmp_path / "my things" / f"{number}.png", colours)
    return "my things"


def test_pictures_of_no_faces(script, wide):
    code, out, err = script("doctor.py", wide, "--device", "cpu", "--no_estimate", "--search", 2)
    assert (code, err) == (0, "")
    assert "pictures: 5, all read" in out
    assert "faces: in 0 of the 2 pictures searched" in out
    commands = [line for line in out.splitlines() if line.startswith("psp ")]
    assert commands == [
        "psp prepare --data_path 'my things' --out 'my things.zip' --resolution 64 --crop pad",
        "psp train-gan --data 'my things.zip' --resolution 64 --preset tiny-cpu --mirror --augment bgc --exp_dir "
        "'runs/my things-generator'",
        "psp train --task inversion --data 'my things.zip' --stylegan_weights 'runs/my things-generator' --id_lambda 0 "
        "--exp_dir 'runs/my things-encoder'",
        "psp invert --data_path 'my things' --exp_dir 'my things-inverted' --checkpoint_path 'runs/my things-encoder' "
        "--no_align --crop pad",
    ]
    assert sorted(path.name for path in Path().iterdir()) == ["my things"]


def test_faces_are_cut_out_first(script, photos, tmp_path):
    for file in sorted((photos / "photos").glob("*.jpg"))[:3]:
        (tmp_path / "faces" / file.name).parent.mkdir(exist_ok=True)
        (tmp_path / "faces" / file.name).write_bytes(file.read_bytes())
    code, out, _ = script("doctor.py", "faces", "--device", "cpu", "--no_estimate", "--resolution", 128)
    assert code == 0
    assert "psp align --data_path faces --exp_dir faces-aligned --output_size 128" in out
    assert "psp prepare --data_path faces-aligned --out faces.zip --resolution 128\n" in out
    assert "--id_lambda" not in out


@pytest.mark.slow
def test_the_trainings_are_timed(script, wide):
    code, out, _ = script("doctor.py", wide, "--device", "cpu", "--search", 1, "--resolution", 32)
    assert code == 0
    assert out.count("  # time: about ") == out.count("  # memory: ") == 2
    assert out.index("psp train-gan") < out.index("  # time: ") < out.index("psp train --task")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["nowhere"], "there is no folder or zip file 'nowhere'"),
        ([], "--data must be given"),
        (["my things", "--resolution", "100"], "100"),
        (["my things", "--look_at", "0"], "--look_at"),
    ],
)
def test_mistakes_are_one_sentence(script, wide, flags, words):
    code, _, err = script("doctor.py", *flags, "--no_estimate")
    assert (code, err.count("\n")) == (2, 1)
    assert words in err
