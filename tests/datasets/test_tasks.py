"""Tests of every registered task, which include new files in datasets/tasks without a change here."""

import json
import sys

import numpy as np
import pytest
import torch

import datasets.tasks
from datasets.examples import Example
from datasets.loader import write_sheet
from datasets.sources import open_split
from datasets.synthetic import SyntheticFaces
from datasets.tasks import TASKS, Task, build_task, register_task, task_of
from datasets.training_data import TaskPairs
from psp.losses import LOSSES
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import read_image, resize, to_tensor, write_image
from stylegan2.runtime.pixels import to_planes
from tests.datasets.tasks import tensors

PHOTO = resize(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8), (48, 48))
LABELS = np.kron(np.arange(16, dtype=np.uint8).reshape(4, 4), np.ones((12, 12), np.uint8))  # [48, 48]
FACES = SyntheticFaces(48)


def make_pair(task, seed=0, source_size=32, target_size=16, image=PHOTO):
    example = Example(image, LABELS if task.needs_source else None)
    return tensors.make_pair(task, example, source_size, target_size, np.random.default_rng(seed))


@pytest.fixture(params=TASKS.names())
def task(request):
    return build_task(request.param)


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
    assert set(task.lambdas) <= set(LOSSES.names())
    assert all(weight >= 0 for weight in task.lambdas.values())
    assert any(task.lambdas.values())


def test_a_task_is_found_by_its_name_and_built_again_from_a_checkpoint(task):
    assert TASKS[task.registered_name] is type(task)
    metadata = {"task": task.registered_name, "task_settings": json.loads(json.dumps(task.config))}
    again = task_of(metadata, task.source_channels)
    assert type(again) is type(task)
    assert again.config == task.config
    assert again.source_channels == task.source_channels


def test_procedural_faces_give_pairs(task):
    examples = [task.render(FACES, index) for index in (2, 2, 3)]
    sources = [example.target if example.source is None else example.source for example in examples]
    assert np.array_equal(examples[0].target, examples[1].target)
    assert np.array_equal(sources[0], sources[1])
    assert not np.array_equal(sources[0], sources[2])
    source, target = task.make_pair(examples[0], 32, 16, np.random.default_rng(0))
    assert source.shape == (task.source_channels, 32, 32)
    assert target.shape == (3, 16, 16)
    if examples[0].source is not None:  # then it is not the plain picture, whose cache is another one
        assert task.rendering


def test_what_inference_reads_is_what_training_shows(task, tmp_path):
    write_image(tmp_path / "a.png", LABELS if task.needs_source else PHOTO)
    picture = resize(task.read_file(tmp_path / "a.png"), (40, 40))
    source, shown = tensors.read_source(task, picture, 32, 48.0)
    assert source.dtype == torch.float32
    assert source.shape[0] == task.source_channels
    assert -1 <= source.min() <= source.max() <= 1
    assert shown.dtype == np.uint8
    assert shown.shape[2] == 3
    assert (source.min() >= 0) == (make_pair(task)[0].min() >= 0)  # label maps and sketches are in [0, 1]
    assert task.finish(PHOTO, shown, source.numpy()).shape == PHOTO.shape


def test_an_unknown_task_names_those_there_are():
    with pytest.raises(UserError, match="there is no task called 'inverson'; there are .*inversion"):
        build_task("inverson")


def test_two_tasks_cannot_share_a_name():
    with pytest.raises(ValueError, match="the task 'inversion' is registered twice"):
        register_task("inversion")(Task)
    assert type(build_task("inversion")).__name__ == "Inversion"


def test_faces_rendered_another_way_need_a_cache_of_their_own():
    class Other(Task):
        def render(self, faces, index):
            return Example(faces.image(index, yaw=0.0))

    with pytest.raises(ValueError, match="`rendering` must be a name for them"):
        register_task("other")(Other)
    assert "other" not in TASKS


def test_settings_of_another_task_are_one_sentence():
    with pytest.raises(UserError, match="the task inversion has no setting label_nc: it has none"):
        build_task("inversion", label_nc=3)
    with pytest.raises(UserError, match="the task segmentation has no setting mask_data: it has label_nc"):
        build_task("segmentation", mask_data="there")


@pytest.mark.parametrize(
    ("metadata", "channels", "name"),
    [
        ({}, 3, "inversion"),
        ({}, 1, "inversion"),
        ({}, 4, "inpainting"),
        ({}, 7, "segmentation"),
        ({"task": "toonify"}, 3, "toonify"),
    ],
)
def test_the_task_of_a_checkpoint(metadata, channels, name):
    task = task_of(metadata, channels)
    assert task.registered_name == name
    assert task.source_channels == channels or (name, channels) == ("inversion", 1)


def test_settings_of_the_user_win_over_those_of_the_checkpoint():
    metadata = {"task": "super_resolution", "task_settings": {"resize_factors": [2, 4]}}
    task = task_of(metadata, 3, resize_factor=8)
    assert (task.resize_factors, task.resize_factor) == ((2, 4), 8)
    assert task_of(metadata, 3, resize_factors=(16,)).resize_factors == (16,)


def test_inversion_is_the_photo_itself_and_half_of_the_time_its_mirror_image():
    inversion = build_task("inversion")
    plain = to_tensor(resize(PHOTO, (16, 16)))
    targets = [make_pair(inversion, seed)[1] for seed in range(100)]
    kept = [torch.allclose(target, plain, atol=0.02) for target in targets]
    mirrored = [torch.allclose(target, plain.flip(2), atol=0.02) for target in targets]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert 30 < sum(mirrored) < 70
    source, target = make_pair(inversion, source_size=16, target_size=16)
    assert torch.equal(source, target)


EIGHTH = """
from dataclasses import dataclass

from datasets.tasks import Task, register_task
from datasets.examples import to_size


@register_task("negative")
@dataclass(frozen=True)
class Negative(Task):
    strength: float = 1.0
    lambdas = {"l2": 1.0}

    def make_pair(self, example, source_size, target_size, rng):
        return -self.strength * to_size(example.target, source_size), to_size(example.target, target_size)
"""


def test_one_new_file_is_a_new_task(tmp_path, monkeypatch):
    """A new file is used for pairs, the sheet, the checkpoint and inference, without another change."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "negative.py").write_text(EIGHTH)
    # The folder of tasks holds this file too, and nothing has been imported from it yet.
    monkeypatch.setattr(datasets.tasks, "__path__", [*datasets.tasks.__path__, str(tmp_path / "tasks")])
    monkeypatch.setattr(TASKS, "_builders", dict(TASKS._builders))
    monkeypatch.setattr(TASKS, "_imported", False)
    try:
        task = build_task("negative", strength=0.5)
        training, held_out = open_split(task, "synthetic", 32)
        for examples in (training, held_out):
            source, target = TaskPairs(examples, task, 32, 32, 0)[1, 1]
            assert np.array_equal(source, -0.5 * target)
        write_sheet(TaskPairs(training, task, 32, 32, 0), tmp_path / "pairs.png")
        assert read_image(tmp_path / "pairs.png").shape[2] == 3
        restored = task_of({"task": "negative", "task_settings": task.config}, 3)
        assert restored.strength == 0.5
        assert np.array_equal(restored.read_source(PHOTO, 48, 48.0)[0], to_planes(PHOTO))
    finally:
        sys.modules.pop("datasets.tasks.negative", None)
