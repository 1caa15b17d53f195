"""Whatever tasks there are: a new file in datasets/tasks is tested here without a change."""

import sys
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest
import torch

import datasets.tasks
from datasets.tasks import TASKS, find_task, register_task
from psp.losses import LOSSES
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import resize, to_tensor

PHOTO = resize(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8), (48, 48))


def make_pair(task, seed=0, source_size=32, target_size=16, image=PHOTO):
    return task.make_pair(image, source_size, target_size, np.random.default_rng(seed))


@pytest.fixture(params=sorted(TASKS))
def task(request):
    return TASKS[request.param]


@pytest.mark.parametrize(("source_size", "target_size"), [(32, 16), (32, 32), (32, 48), (48, 48)])
def test_pairs_are_float_images_of_the_sizes_asked_for(task, source_size, target_size):
    source, target = make_pair(task, 0, source_size, target_size)
    assert source.shape == (task.source_channels, source_size, source_size)
    assert target.shape == (3, target_size, target_size)
    for image in (source, target):
        assert image.dtype == torch.float32
        assert -1 <= image.min() <= image.max() <= 1
    assert target.std() > 0.05


def test_pairs_are_a_function_of_image_and_rng(task):
    before = PHOTO.copy()
    for seed in range(4):
        torch.manual_seed(seed)
        np.random.seed(seed)
        first, second = make_pair(task, seed), make_pair(task, seed)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert np.array_equal(PHOTO, before)


def test_sources_can_be_shown(task):
    source, _ = make_pair(task)
    shown = task.show_source(torch.stack([source, source]))
    assert shown.shape == (2, 3, 32, 32)
    assert -1 <= shown.min() <= shown.max() <= 1


def test_weights_are_of_losses_that_exist(task):
    assert task.lambdas.keys() <= LOSSES.keys()
    assert all(weight >= 0 for weight in task.lambdas.values())
    assert any(task.lambdas.values())


def test_a_task_is_found_by_its_name(task):
    assert find_task(task.registered_name) is task


def test_an_unknown_task_names_those_there_are():
    with pytest.raises(UserError, match="there is no task called 'inverson'; there are .*inversion"):
        find_task("inverson")


def test_two_tasks_cannot_share_a_name():
    with pytest.raises(ValueError, match="two tasks are called 'inversion'"):
        register_task("inversion")(object)
    assert find_task("inversion").__name__ == "Inversion"


def test_inversion_is_the_photo_itself_and_half_of_the_time_its_mirror_image():
    inversion = find_task("inversion")
    plain = to_tensor(resize(PHOTO, (16, 16)))
    targets = [make_pair(inversion, seed)[1] for seed in range(100)]
    kept = [torch.allclose(target, plain, atol=0.02) for target in targets]
    mirrored = [torch.allclose(target, plain.flip(2), atol=0.02) for target in targets]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert 30 < sum(mirrored) < 70
    source, target = make_pair(inversion, source_size=16, target_size=16)
    assert torch.equal(source, target)


def test_one_new_file_is_a_new_task(tmp_path, monkeypatch):
    (tmp_path / "negative.py").write_text(
        """
from datasets.tasks.registry import register_task
from stylegan2.runtime import images


@register_task("negative")
class Negative:
    source_channels = 3
    lambdas = {"l2": 1.0}

    @staticmethod
    def make_pair(image, source_size, target_size, rng):
        source = images.to_tensor(images.resize(image, (source_size, source_size)))
        return source, -images.to_tensor(images.resize(image, (target_size, target_size)))

    @staticmethod
    def show_source(source):
        return source
"""
    )
    # The package once more, as in a new process whose folder of tasks holds this file too.
    folders = [*datasets.tasks.__path__, str(tmp_path)]
    spec = spec_from_file_location("datasets.tasks", datasets.tasks.__file__, submodule_search_locations=folders)
    package = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "datasets.tasks", package)
    try:
        spec.loader.exec_module(package)
        source, target = make_pair(package.find_task("negative"), 0, 16, 16)
        assert torch.equal(source, -target)
    finally:
        TASKS.pop("negative", None)
        sys.modules.pop("datasets.tasks.negative", None)
