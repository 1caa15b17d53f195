"""The proposed commands can be parsed, and what is no face is never compared by a network that knows people."""

import importlib
import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from options.commands import COMMANDS
from options.parse import parse
from options.proposal import Domain, encoder_training, fitting_resolution, generator_training, preparation, use

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
