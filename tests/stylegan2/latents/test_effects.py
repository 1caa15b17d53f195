"""What directions change, on a generator and a classifier whose answers are known."""

import math

import pytest
import torch

from stylegan2.latents.directions import Directions
from stylegan2.latents.effects import (
    STRENGTHS,
    Effect,
    Flip,
    changes,
    direction_effects,
    flip,
    scores_of,
    selectivity,
    table,
)
from stylegan2.runtime.errors import UserError


class Painter:
    """A stand-in for a generator: pixel k of the image is number k of the first row of w_plus."""

    img_resolution = 2

    def synthesis(self, codes, noise_mode):
        return codes[:, 0].reshape(-1, 1, 2, 2) / 100


@pytest.fixture
def painter():
    return Painter()


@pytest.fixture
def directions():
    vectors = torch.tensor([[1.0, 0, 0, 0], [0.6, 0.8, 0, 0]])
    return Directions(("smile", "yaw"), vectors, torch.tensor([2.0, 1.0]), (0, 1))


def classify(images):
    pixels = images.flatten(1) * 100  # the numbers of w
    return {"smile": pixels[:, 0], "yaw": 3 * pixels[:, 1], "beard": pixels[:, 2] + 0.5 * pixels[:, 1]}


def similarity(a, b):
    return 1 - (a - b).flatten(1).norm(dim=1) * 10  # 1 for equal ones; a step of w by 1 costs 0.1


def test_scores_are_those_of_the_images(painter):
    codes = torch.randn(5, 2, 4)
    scores = scores_of(painter, codes, classify)
    torch.testing.assert_close(scores["yaw"], 3 * codes[:, 0, 1])
    assert list(scores) == ["smile", "yaw", "beard"]


def test_changes_are_in_deviations_of_the_score(painter, directions):
    deviations = {"smile": torch.tensor(2.0), "yaw": torch.tensor(3.0), "beard": torch.tensor(0.1)}
    codes = torch.randn(6, 2, 4)
    found = [changes(painter, directions, name, codes, classify, deviations, 1.5) for name in ("smile", "yaw")]
    assert found[0] == pytest.approx({"smile": 1.5 * 2 / 2, "yaw": 0, "beard": 0}, abs=1e-4)
    expected = {"smile": 1.5 * 0.6 / 2, "yaw": 1.5 * 0.8 * 3 / 3, "beard": 1.5 * 0.4 / 0.1}
    assert found[1] == pytest.approx(expected, abs=1e-4)


def test_selectivity_is_over_the_largest_other_change():
    assert selectivity({"yaw": -3.0, "smile": 0.5, "beard": -1.5}, "yaw") == pytest.approx(2)
    assert selectivity({"yaw": 1.0, "smile": 0.0}, "yaw") > 1e6
    with pytest.raises(UserError, match="selectivity needs the changes of 'age'"):
        selectivity({"yaw": 1.0}, "age")


def test_each_sample_flips_at_the_smallest_strength_that_does(painter, directions):
    codes = torch.zeros(4, 2, 4)
    codes[:, 0, 0] = torch.tensor([-0.9, 3.2, -100, 0.4])  # steps of 0.5 a quarter of strength: 0.5, 1.75, never, 0.25
    found = flip(painter, directions, "smile", codes, classify, similarity)
    assert found.flipped == pytest.approx(0.75)
    assert found.strength == pytest.approx((0.5 + 1.75 + 0.25) / 3)
    assert found.similarity == pytest.approx(1 - 0.1 * (1.0 + 3.5 + 0.5) / 3, abs=1e-4)


def test_nothing_flipped_is_said(painter, directions):
    codes = torch.full((2, 2, 4), -50.0)
    found = flip(painter, directions, "smile", codes, classify, similarity)
    assert found.flipped == 0
    assert math.isnan(found.strength)


def test_an_attributes_direction_is_measured_where_it_flips_it(painter, directions):
    scores = {"smile": torch.tensor([-1.0, 1.0, -1.0, -1.0]), "yaw": torch.tensor([-2.0, 2.0]), "beard": torch.randn(9)}
    codes = torch.zeros(4, 2, 4)
    codes[:, 0, 0] = torch.tensor([-0.9, 3.2, -100, 0.4])
    effects = direction_effects(painter, directions, codes, classify, similarity, scores)
    smile = effects["smile"]
    assert (smile.share, smile.flip) == (0.25, flip(painter, directions, "smile", codes, classify, similarity))
    assert smile.strength == pytest.approx((0.5 + 1.75 + 0.25) / 3)
    deviations = {name: score.std() for name, score in scores.items()}
    assert smile.changes == changes(painter, directions, "smile", codes, classify, deviations, smile.strength)


def test_other_directions_are_measured_at_the_strength_given(painter, directions):
    found = Directions(("pca0",), directions.vectors[:1], directions.scales[:1], (0,))
    scores = {"smile": torch.tensor([-1.0, 1.0]), "yaw": torch.randn(9), "beard": torch.randn(9)}
    effect = direction_effects(painter, found, torch.randn(8, 2, 4), classify, similarity, scores, strength=1.25)[
        "pca0"
    ]
    assert (effect.strength, effect.share, effect.flip) == (1.25, None, None)
    assert effect.changes["smile"] == pytest.approx(1.25 * 2 / math.sqrt(2), abs=1e-4)


def test_the_table():
    yaw = Effect(0.75, {"yaw": 2.0, "smile": -0.5}, 0.4, Flip(1.0, 0.75, 0.9))
    lines = table({"yaw": yaw, "pca0": Effect(2.0, {"yaw": 0.25, "smile": 0.0})}).splitlines()
    assert lines[0] == "| direction | yaw | smile | strength | selectivity | share | flipped | similarity |"
    assert lines[2] == "| yaw | +2.00 | -0.50 | 0.75 | 4.0 | 0.400 | 1.00 | 0.90 |"
    assert lines[3] == "| pca0 | +0.25 | +0.00 | 2.00 |  |  |  |  |"
    assert all(line.count("|") == 9 for line in lines)


def test_strengths_ascend():
    assert STRENGTHS[0] > 0
    assert list(STRENGTHS) == sorted(STRENGTHS)
