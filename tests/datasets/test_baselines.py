"""Baselines of the tasks, compared with independent computations."""

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.baselines import mean_fill
from datasets.masks import paste_known
from datasets.tasks import TASKS, build_task
from datasets.tasks.super_resolution import SuperResolution, degrade
from psp.evaluation.methods import Method
from stylegan2.runtime.images import resize, to_tensor, to_uint8

PHOTOS = [resize(np.random.default_rng(n).integers(0, 256, (6, 6, 3), np.uint8), (32, 32)) for n in range(2)]
TARGET = torch.stack([to_tensor(photo) for photo in PHOTOS])


def ignore(step):
    pass


def only_baseline(task, paired=False):
    (method,) = task.baselines(32, paired)
    return method


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_has_baselines_or_none(name):
    names = [method.name for method in build_task(name).baselines(32, False)]
    expected = {
        "frontalization": ["turned source"],
        "super_resolution": ["bicubic enlargement"],
        "inpainting": ["mean fill"],
        "segmentation": ["true image"],
    }
    assert names == expected.get(name, [])


def test_the_turned_source_is_shown_as_it_is():
    source = torch.rand(2, 3, 64, 64) * 2 - 1
    output = only_baseline(build_task("frontalization")).render(source, TARGET, ignore)
    torch.testing.assert_close(output, torch.nn.functional.avg_pool2d(source, 2))


@pytest.mark.parametrize("factor", [1, 2, 8, 32])
def test_bicubic_enlargement_begins_with_what_the_task_shrank(factor):
    output = only_baseline(SuperResolution((factor,))).render(TARGET, TARGET, ignore)
    for photo, enlarged in zip(PHOTOS, to_uint8(output), strict=True):
        small = max(1, 32 // factor)
        shrunk = Image.fromarray(photo).resize((small, small), Image.Resampling.BICUBIC)
        assert np.array_equal(enlarged, np.asarray(shrunk.resize((32, 32), Image.Resampling.BICUBIC)))
        if factor > 1:  # the task enlarges the same pixels with another filter
            assert np.abs(enlarged.astype(int) - degrade(photo, 32, factor)).mean() < 6


def test_small_photos_of_the_user_are_the_baseline_themselves():
    source = torch.rand(2, 3, 32, 32) * 2 - 1
    method = only_baseline(SuperResolution((8,)), paired=True)
    assert method.name == "source, enlarged"
    assert torch.equal(method.render(source, TARGET, ignore), source)


def inpainting_source():
    hole = torch.zeros(2, 1, 32, 32)
    hole[0, :, :16] = hole[1, :, 8:20, 4:30] = 1
    return torch.cat([TARGET * (1 - hole), hole], dim=1), hole


def test_the_mean_fills_the_hole_alone():
    source, hole = inpainting_source()
    output = mean_fill(source, TARGET)
    for n in range(2):
        known = hole[n, 0] == 0
        assert torch.equal(output[n][:, known], TARGET[n][:, known])
        expected = TARGET[n][:, known].double().mean(1)
        torch.testing.assert_close(output[n][:, ~known].double(), expected[:, None].expand(-1, int((~known).sum())))
    assert torch.isfinite(mean_fill(torch.ones(2, 4, 32, 32), TARGET)).all()


def test_known_pixels_are_laid_over_a_result():
    source, hole = inpainting_source()
    wrong = Method("wrong", {"w": 1}, 32, lambda source, target, on_step: -target)
    (row,) = build_task("inpainting").variants(wrong)
    assert row.name == "wrong, known pixels kept"
    assert row.key != wrong.key
    output = to_uint8(row.render(source, TARGET, ignore))
    for n in range(2):
        expected = paste_known(to_uint8(-TARGET)[n], PHOTOS[n], hole[n, 0].numpy() > 0)
        assert np.array_equal(output[n], expected)
        assert np.array_equal(output[n][-4:], PHOTOS[n][-4:])
        assert not np.array_equal(output[n], PHOTOS[n])


def test_keys_tell_baselines_apart():
    tasks = [build_task("frontalization"), build_task("inpainting"), SuperResolution((2,)), SuperResolution((4,))]
    assert len({str(only_baseline(task).key) for task in tasks}) == 4
