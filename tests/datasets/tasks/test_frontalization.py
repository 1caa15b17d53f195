import numpy as np
import pytest
import torch

from datasets.examples import Example
from datasets.synthetic import SyntheticFaces
from datasets.tasks import build_task
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import resize, to_tensor
from tests.datasets.tasks.tensors import make_pair

TASK, FACES = build_task("frontalization"), SyntheticFaces(32)
PHOTO = resize(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8), (32, 32))


def test_the_target_is_the_same_person_upright_in_the_same_light():
    example = TASK.render(FACES, 7)
    assert np.array_equal(example.target, FACES.image(7, yaw=0.0, pitch=0.0, roll=0.0))
    turned = TASK.turned(FACES, 7, 45.0)
    assert np.array_equal(turned.source, FACES.image(7, yaw=45.0))
    assert np.array_equal(turned.target, example.target)
    assert not np.array_equal(example.source, FACES.image(7))  # turned by a yaw of its own, not as drawn


class Recorder:
    """A substitute for the faces, which records the yaw of each source."""

    seed = 0

    def __init__(self):
        self.yaws = []

    def image(self, index, yaw, **upright):
        if not upright:
            self.yaws.append(yaw)
        return PHOTO


def test_sources_are_turned_to_both_sides_by_up_to_60_degrees():
    faces = Recorder()
    for index in range(400):
        TASK.render(faces, index)
    yaws = np.array(faces.yaws)
    assert np.abs(yaws).max() <= 60
    assert abs(np.mean(yaws)) < 6
    assert np.std(yaws) == pytest.approx(60 / np.sqrt(3), rel=0.1)
    again = Recorder()
    TASK.render(again, 399)
    assert again.yaws == [faces.yaws[399]]


def test_true_pairs_are_mirrored_together():
    example = Example(PHOTO, 255 - PHOTO)
    mirrored = 0
    for seed in range(60):
        source, target = make_pair(TASK, example, 32, 32, np.random.default_rng(seed))
        torch.testing.assert_close(source, -target)
        mirrored += torch.equal(target, to_tensor(PHOTO).flip(2))
    assert 15 < mirrored < 45


def test_photos_follow_the_recipe_of_the_paper():
    """Source and target are mirrored independently, each half of the time."""
    plain = to_tensor(PHOTO)
    counts = np.zeros((2, 2))
    for seed in range(200):
        pair = make_pair(TASK, Example(PHOTO), 32, 32, np.random.default_rng(seed))
        for image in pair:
            assert torch.equal(image, plain) or torch.equal(image, plain.flip(2))
        counts[tuple(int(torch.equal(image, plain)) for image in pair)] += 1
    assert counts.sum() == 200
    assert counts.min() > 30


def test_the_weights_are_the_papers():
    assert TASK.lambdas == {
        "l2": 0.001, "perceptual": 0.08, "id": 1.0, "w_norm": 0.005, "l2_crop": 0.01, "perceptual_crop": 0.8,
    }  # fmt: skip


def test_frontal_photos_are_turned_to_make_sources():
    task, plain = build_task("frontalization", max_turn=30.0), to_tensor(PHOTO)
    mirrored, differences = 0, set()
    for seed in range(40):
        source, target = make_pair(task, Example(PHOTO), 32, 32, np.random.default_rng(seed))
        assert torch.equal(target, plain) or torch.equal(target, plain.flip(2))
        mirrored += not torch.equal(target, plain)
        differences.add(round((source - target).abs().mean().item(), 6))
    assert 8 < mirrored < 32
    assert len(differences) == 40  # each by an angle of its own


def test_true_pairs_are_not_turned():
    pair = Example(PHOTO, 255 - PHOTO)
    turned, plain = (
        make_pair(build_task("frontalization", max_turn=angle), pair, 32, 32, np.random.default_rng(3))
        for angle in (30.0, 0.0)
    )
    assert all(torch.equal(a, b) for a, b in zip(turned, plain, strict=True))


@pytest.mark.parametrize("angle", [-1.0, 61.0, float("nan")])
def test_angles_that_no_photo_can_be_turned_by_are_refused(angle):
    with pytest.raises(UserError, match="max_turn is an angle from 0 to 60 degrees"):
        build_task("frontalization", max_turn=angle)
