"""Augmentation depends only on the random generator, and is the same for target and source."""

import pickle

import numpy as np
import pytest

from datasets.examples import Augment, Example, to_size
from stylegan2.runtime.images import resize

PHOTO = resize(np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8), (48, 48))
LABELS = np.kron(np.arange(9, dtype=np.uint8).reshape(3, 3) * 7, np.ones((16, 16), np.uint8))


@pytest.fixture(scope="module")
def augment():
    return Augment()


def test_it_is_a_function_of_example_and_generator(augment):
    before = PHOTO.copy()
    first = augment(Example(PHOTO), np.random.default_rng(3)).target
    np.random.seed(5)
    augment(Example(PHOTO), np.random.default_rng(4))
    again = pickle.loads(pickle.dumps(augment))
    for other in (augment, again):
        assert np.array_equal(other(Example(PHOTO), np.random.default_rng(3)).target, first)
    assert not np.array_equal(augment(Example(PHOTO), np.random.default_rng(4)).target, first)
    assert np.array_equal(PHOTO, before)
    assert first.shape == PHOTO.shape
    assert 1 < np.abs(first.astype(int) - PHOTO).mean() < 60


def test_target_and_source_change_alike(augment):
    for seed in range(5):
        example = augment(Example(PHOTO, PHOTO, "x"), np.random.default_rng(seed))
        assert np.array_equal(example.target, example.source)
        assert example.name == "x"


def test_labels_move_and_keep_their_ids(augment):
    moved = 0
    for seed in range(8):
        source = augment(Example(PHOTO, LABELS), np.random.default_rng(seed)).source
        assert source.shape == LABELS.shape
        assert set(np.unique(source)) <= set(np.unique(LABELS))
        moved += not np.array_equal(source, LABELS)
    assert moved >= 6
    drawing = np.where(LABELS > 30, 255, 0).astype(np.uint8)[..., None]
    drawn = augment(Example(PHOTO, drawing), np.random.default_rng(0)).source
    assert drawn.shape == (48, 48, 1)
    assert set(np.unique(drawn)) == {0, 255}


def test_to_size():
    assert to_size(PHOTO, 24).shape == (3, 24, 24)
    assert to_size(PHOTO, 48)[1, 2, 3].item() == pytest.approx(PHOTO[2, 3, 1] / 127.5 - 1)
