import numpy as np
import pytest
import torch
from PIL import Image

from datasets.examples import Example
from datasets.tasks import build_task
from datasets.tasks.super_resolution import degrade
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import resize, to_tensor
from tests.datasets.tasks.tensors import make_pair, read_source

PHOTO = resize(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8), (64, 64))


def bicubic_weights(size, factor, a=-0.5):
    """Antialiased bicubic reduction as a matrix [size / factor, size]: Keys' kernel, 4 factor taps, float64."""
    out = size // factor
    centre = (np.arange(out) + 0.5) * factor
    x = np.abs((np.arange(size) + 0.5)[None] - centre[:, None]) / factor
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_photos_are_shrunk_by_antialiased_bicubic_resampling(factor):
    matrix = bicubic_weights(64, factor)
    small = np.einsum("ij,jkc,lk->ilc", matrix, PHOTO.astype(np.float64), matrix).clip(0, 255)
    expected = resize(np.rint(small).astype(np.uint8), (64, 64))
    assert np.abs(degrade(PHOTO, 64, factor).astype(int) - expected).max() <= 3


def test_each_sample_has_a_factor_of_its_own():
    task = build_task("super_resolution", resize_factors=(1, 4, 16))
    expected = [to_tensor(degrade(PHOTO, 32, factor)) for factor in (1, 4, 16)]
    counts = np.zeros(3)
    for seed in range(90):
        source, target = make_pair(task, Example(PHOTO), 32, 64, np.random.default_rng(seed))
        if not torch.equal(target, to_tensor(PHOTO)):
            source, target = source.flip(2), target.flip(2)
        assert torch.equal(target, to_tensor(PHOTO))
        counts[int(np.argmin([(source - x).abs().mean() for x in expected]))] += 1
    assert counts.min() > 15


def test_a_small_photo_is_not_shrunk_again():
    size, small = 32, resize(PHOTO, (8, 8))
    picture = resize(small, (size, size))
    task = build_task("super_resolution", resize_factor=4)
    source, shown = read_source(task, picture, size, native_side=8)
    assert torch.equal(source, to_tensor(picture))
    assert np.array_equal(shown, picture)
    sharp = resize(PHOTO, (size, size))
    source, shown = read_source(task, sharp, size, native_side=64)
    assert torch.equal(source, to_tensor(degrade(sharp, size, 4)))
    assert np.array_equal(shown, degrade(sharp, size, 4))


def test_without_a_factor_a_photo_is_taken_as_it_is():
    source, _ = read_source(build_task("super_resolution"), PHOTO, 64, native_side=64)
    assert torch.equal(source, to_tensor(PHOTO))


def test_a_small_photo_reads_as_the_training_showed_it():
    """8 px from a camera, and 64 px that training shrinks to 8."""
    camera = np.asarray(Image.fromarray(PHOTO).resize((8, 8), Image.Resampling.BICUBIC))
    source, _ = read_source(build_task("super_resolution"), resize(camera, (64, 64)), 64, native_side=8)
    assert torch.equal(source, to_tensor(degrade(PHOTO, 64, 8)))


def test_sources_of_ones_own_are_not_shrunk():
    source, target = make_pair(
        build_task("super_resolution", resize_factors=(16,)),
        Example(PHOTO, 255 - PHOTO),
        64,
        64,
        np.random.default_rng(0),
    )
    torch.testing.assert_close(source, -target)


@pytest.mark.parametrize("settings", [{"resize_factors": ()}, {"resize_factors": (0, 2)}, {"resize_factor": 0}])
def test_factors_are_from_1_on(settings):
    with pytest.raises(UserError, match="from 1 on"):
        build_task("super_resolution", **settings)
