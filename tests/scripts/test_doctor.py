"""The command psp doctor: its findings, its proposals, and its estimates of time."""

import importlib
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from options.commands import COMMANDS
from options.parse import parse
from scripts.doctor import Domain, encoder_training, fitting_resolution, generator_training, preparation, use
from stylegan2.runtime.images import write_image


@pytest.fixture
def wide(tmp_path):
    """Provide pictures of noise that are twice as wide as high."""
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


CARS = Domain("my cars", 3_000, faces=False, aligned=False, aspect=1.5, resolution=64, on_gpu=False, moco=False)
FACES = replace(CARS, data="faces/", faces=True, aspect=1.0)


def commands(domain):
    return [*preparation(domain), generator_training(domain), encoder_training(domain), use(domain)]


def parsed(command):
    program, name, *args = shlex.split(command)
    assert program == "psp"
    entry = COMMANDS[name]
    module = importlib.import_module(f"options.commands.{entry.script}")
    return parse(getattr(module, entry.settings), getattr(module, "PRESETS", None), args=args)


@pytest.mark.parametrize(
    "domain",
    [
        CARS,
        FACES,
        replace(FACES, aligned=True),
        replace(CARS, on_gpu=True, resolution=256, moco=True),
        replace(CARS, on_gpu=True, resolution=128, count=10**6),
    ],
)
def test_all_commands_can_be_typed(domain):
    for command in commands(domain):
        parsed(command)


def test_cars_are_not_taken_for_faces():
    prepare, _, train, invert = map(parsed, commands(CARS))
    assert (str(prepare.data_path), prepare.crop, str(prepare.out)) == ("my cars", "pad", "my cars.zip")
    assert train.losses.id_lambda == 0
    assert train.losses.moco_lambda is None
    assert parsed(encoder_training(replace(CARS, moco=True))).losses.moco_lambda == 0.5
    assert (invert.align, invert.crop) == (False, "pad")


def test_faces_are_aligned_unless_they_are():
    align, prepare, _, train, invert = map(parsed, commands(FACES))
    assert align.exp_dir == prepare.data_path
    assert prepare.crop == "center"
    assert train.losses.id_lambda is None
    assert invert.align is None
    aligned = commands(replace(FACES, aligned=True))
    assert len(aligned) == 4
    assert parsed(aligned[-1]).align is False


def test_square_pictures_are_not_padded_and_many_are_not_augmented():
    square = replace(CARS, aspect=0.95, count=80_000)
    assert parsed(preparation(square)[0]).crop == "center"
    assert parsed(generator_training(square)).training.augment == "none"
    assert parsed(generator_training(CARS)).training.augment == "bgc"


@given(st.integers(0, 5000), st.booleans())
def test_the_resolution_is_a_power_of_two_that_pictures_fill(side, on_gpu):
    resolution = fitting_resolution(side, on_gpu)
    assert resolution & (resolution - 1) == 0
    assert 32 <= resolution <= (256 if on_gpu else 64)
    assert resolution <= max(side, 32)
