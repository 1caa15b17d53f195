"""Held-out pairs are the same at every call, are not mirrored, and are in the groups of their task."""

import os

import numpy as np
import pytest
import torch

from datasets.held_out import HeldOutPairs, count_images, data_key, open_groups, shared_task
from datasets.synthetic import HELD_OUT_SEED, SyntheticFaces
from datasets.tasks import TASKS, build_task
from datasets.tasks.frontalization import YAWS
from psp.encoders import ENCODERS
from psp.model import PSp
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import resize, to_uint8, write_image

pytestmark = pytest.mark.usefixtures("own_cache")

SIZE = 32
FACES = SyntheticFaces(SIZE, HELD_OUT_SEED)


def groups_of(name, data="synthetic", source_data=None, **settings):
    return {group.name: group for group in open_groups(build_task(name, **settings), data, SIZE, source_data)}


def pixels(tensor):
    return to_uint8(tensor[None])[0]


@pytest.mark.parametrize("name", TASKS.names())
def test_pairs_of_every_task_depend_on_seed_and_index_alone(name):
    for group in groups_of(name).values():
        pairs = HeldOutPairs(group, 16, 0)
        source, target = pairs.batch(1, 4, SIZE)
        assert source.shape == (3, group.task.source_channels, SIZE, SIZE)
        assert target.shape == (3, 3, 16, 16)
        for one, other in zip(pairs.pair(2, SIZE), HeldOutPairs(group, 16, 0).pair(2, SIZE), strict=True):
            assert torch.equal(one, other)
        assert torch.equal(source[1], pairs.pair(2, SIZE)[0])


@pytest.mark.parametrize("name", TASKS.names())
def test_targets_are_held_out_and_not_mirrored(name):
    for group in groups_of(name).values():
        for index in range(4):
            _, target = HeldOutPairs(group, SIZE, 0).pair(index, SIZE)
            upright = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0} if name == "frontalization" else {}
            assert np.array_equal(pixels(target), FACES.image(index, **upright))


def test_frontalization_has_four_angles_to_both_sides():
    groups = groups_of("frontalization")
    assert list(groups) == [f"yaw {yaw}" for yaw in YAWS] == ["yaw 0", "yaw 30", "yaw 45", "yaw 60"]
    for yaw in YAWS:
        pairs = HeldOutPairs(groups[f"yaw {yaw}"], SIZE, 0)
        for index, sign in ((0, 1), (1, -1), (2, 1)):
            source, _ = pairs.pair(index, SIZE)
            assert np.array_equal(pixels(source), FACES.image(index, yaw=float(sign * yaw)))


def test_super_resolution_has_its_own_factors():
    groups = groups_of("super_resolution", resize_factors=(8, 1, 2))
    assert list(groups) == ["factor 1", "factor 2", "factor 8"]
    sources = {name: HeldOutPairs(group, SIZE, 0).pair(3, SIZE)[0] for name, group in groups.items()}
    target = HeldOutPairs(groups["factor 1"], SIZE, 0).pair(3, SIZE)[1]
    errors = [(source - target).square().mean().item() for source in sources.values()]
    assert errors[0] == 0 < errors[1] < errors[2]


def test_inpainting_has_its_kinds_of_mask_and_a_quarter():
    groups = groups_of("inpainting", mask_kinds=("halves", "strokes"))
    assert list(groups) == ["halves", "strokes", "quarter"]
    holes = {
        name: HeldOutPairs(group, SIZE, 0).batch(0, 6, SIZE)[0][:, 3].mean([1, 2]) for name, group in groups.items()
    }
    assert torch.equal(holes["halves"], torch.full((6,), 0.5))
    assert torch.equal(holes["quarter"], torch.full((6,), 0.25))
    assert holes["strokes"].std() > 0
    quarters = HeldOutPairs(groups["quarter"], SIZE, 0).batch(0, 6, SIZE)[0][:, 3]
    assert len({tuple(q.nonzero()[0].tolist()) for q in quarters}) > 2  # they lie in different places


@pytest.mark.parametrize("name", ["inversion", "segmentation", "sketch", "toonify"])
def test_other_tasks_are_one_group(name):
    assert list(groups_of(name)) == ["all"]


def test_the_seed_changes_what_is_random():
    group = groups_of("inpainting", mask_kinds=("strokes",))["strokes"]
    assert not torch.equal(HeldOutPairs(group, SIZE, 0).pair(0, SIZE)[0], HeldOutPairs(group, SIZE, 1).pair(0, SIZE)[0])


# --- data of a user ---


@pytest.fixture
def folder(tmp_path):
    """Provide five photos, and five sources of the same names."""
    for n in range(5):
        picture = resize(np.random.default_rng(n).integers(0, 256, (4, 4, 3), np.uint8), (SIZE, SIZE))
        write_image(tmp_path / "photos" / f"{n}.png", picture)
        write_image(tmp_path / "sources" / f"{n}.png", 255 - picture)
    return tmp_path


def test_pairs_of_files_are_one_group(folder):
    for name in ("inversion", "frontalization", "super_resolution"):
        (group,) = groups_of(name, str(folder / "photos"), str(folder / "sources")).values()
        source, target = HeldOutPairs(group, SIZE, 0).batch(0, 5, SIZE)
        torch.testing.assert_close(source, -target)


def test_photos_alone_have_groups_too(folder):
    assert list(groups_of("super_resolution", str(folder / "photos"), resize_factors=(2, 4))) == [
        "factor 2",
        "factor 4",
    ]
    assert "quarter" in groups_of("inpainting", str(folder / "photos"))


def test_photos_alone_are_no_truth_for_frontalization(folder):
    with pytest.raises(UserError, match="photos alone have no true frontal face"):
        groups_of("frontalization", str(folder / "photos"))


def test_the_key_of_data_changes_with_their_files(folder):
    photos, sources = str(folder / "photos"), str(folder / "sources")
    keys = [data_key("synthetic", None, 32), data_key("synthetic", None, 64), data_key(photos, None, 32)]
    keys += [data_key(photos, None, 64), data_key(sources, None, 32), data_key(photos, sources, 32)]
    assert len({str(key) for key in keys}) == 6
    assert data_key(photos, None, 32) == data_key(photos, None, 32)
    path, before = folder / "photos" / "0.png", data_key(photos, None, 32)
    os.utime(path, ns=(1, 1))
    touched = data_key(photos, None, 32)
    assert touched != before
    path.unlink()
    assert data_key(photos, None, 32) not in (touched, before)


def test_the_number_of_images(folder):
    (group,) = groups_of("inversion", str(folder / "photos")).values()
    pairs = [HeldOutPairs(group, SIZE, 0)]
    assert [count_images(asked, pairs, "photos", 512) for asked in (None, 3, 5)] == [5, 3, 5]
    assert count_images(None, pairs, "photos", 4) == 4
    with pytest.raises(UserError, match="num_images is 6, but photos has only 5 images"):
        count_images(6, pairs, "photos", 512)


# --- models that can be compared ---


def model(channels=3, size=32):
    generator = GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=1)
    return PSp(ENCODERS.build("light", num_ws=6, w_dim=8, input_channels=channels, input_size=size), generator)


def test_the_task_is_that_of_the_checkpoints():
    masks = {"task": "inpainting", "task_settings": {"mask_kinds": ["halves"]}}
    task = shared_task({"a": (model(4), masks), "b": (model(4), {"task": "inpainting"})})
    assert (task.registered_name, task.mask_kinds) == ("inpainting", ("halves",))
    assert shared_task({"a": (model(5), {})}).registered_name == "segmentation"
    assert shared_task({"a": (model(), {}), "b": (model(size=64), {})}).registered_name == "inversion"


@pytest.mark.parametrize(
    ("second", "metadata", "words"),
    [
        (3, {"task": "sketch"}, "a was trained for inversion and b for sketch"),
        (1, {"task": "inversion"}, "b reads 1 channels, but pairs of the task inversion have 3"),
    ],
)
def test_models_that_cannot_be_compared(second, metadata, words):
    with pytest.raises(UserError, match=words):
        shared_task({"a": (model(), {"task": "inversion"}), "b": (model(second), metadata)})


def test_sources_of_two_sizes_differ():
    metadata = {"task": "super_resolution"}
    with pytest.raises(UserError, match="a reads 32 px and b 64 px"):
        shared_task({"a": (model(), metadata), "b": (model(size=64), metadata)})
