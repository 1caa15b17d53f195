from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets.examples import Example
from datasets.loader import fixed_batches, stream_batches, write_sheet
from datasets.sampler import StreamSampler
from datasets.sources import HELD_OUT_MAX, split
from datasets.tasks import TASKS, Task
from datasets.training_data import TaskPairs
from stylegan2.runtime.images import read_image, to_tensor, to_uint8

PIXELS = list(np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8))
EXAMPLES = [Example(image) for image in PIXELS]


class Noise(Task):
    """A task that adds a number drawn from its rng to the source."""

    def make_pair(self, example, source_size, target_size, rng):
        assert (source_size, target_size) == (8, 4)
        return to_tensor(example.target) + float(rng.random()), to_tensor(example.target[::2, ::2])


def pairs(seed=0):
    return TaskPairs(EXAMPLES, Noise(), 8, 4, seed)


def test_what_is_random_depends_on_seed_and_position_alone():
    def draw(index, position, seed=0):
        return (pairs(seed)[index, position][0] - to_tensor(PIXELS[index])).mean().item()

    assert draw(0, 5) == pytest.approx(draw(7, 5), abs=1e-6)
    assert draw(0, 5) != pytest.approx(draw(0, 6), abs=1e-6)
    assert draw(0, 5) != pytest.approx(draw(0, 5, seed=1), abs=1e-6)
    np.random.seed(3)
    assert draw(0, 5) == draw(0, 5)


def test_targets_belong_to_their_images():
    for index in range(9):
        assert torch.equal(pairs()[index, 100][1], to_tensor(PIXELS[index][::2, ::2]))


def test_streams_of_pairs_resume_with_any_number_of_workers():
    def stream(start, workers):
        return islice(stream_batches(pairs(), 9, 4, seed=0, workers=workers)(start), 3)

    whole = list(islice(stream_batches(pairs(), 9, 4, seed=0, workers=0)(0), 5))
    for pair, expected in zip(stream(8, 2), whole[2:], strict=True):
        assert [x.shape for x in pair] == [(4, 3, 8, 8), (4, 3, 4, 4)]
        assert all(torch.equal(a, b) for a, b in zip(pair, expected, strict=True))


@given(st.integers(1, 5000), st.integers(0, 5))
def test_a_split_is_a_partition(length, seed):
    training, held_out = split(range(length), seed)
    kept, held = [[part[i] for i in range(len(part))] for part in (training, held_out)]
    assert len(held) == min(HELD_OUT_MAX, max(1, int(length * 0.05)))
    assert kept == sorted(kept)
    if length > 1:
        assert sorted(kept + held) == list(range(length))
    else:
        assert kept == held == [0]  # one image alone is trained and measured on
    again = [part.indices.tolist() for part in split(range(length), seed)]
    assert [training.indices.tolist(), held_out.indices.tolist()] == again


def test_held_out_images_are_of_all_parts():
    _, held_out = split(range(1000))
    assert min(held_out.indices) < 100
    assert max(held_out.indices) > 900


def test_fixed_batches_are_the_same_at_every_call():
    first, second = fixed_batches(pairs(), 4), fixed_batches(pairs(), 4)
    assert [len(source) for source, _ in first] == [4, 4, 1]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])
    everything = torch.cat([target for _, target in first])
    assert torch.equal(everything, torch.stack([to_tensor(image[::2, ::2]) for image in PIXELS]))
    assert len(torch.cat([source for source, _ in fixed_batches(pairs(), 4, count=6)])) == 6


def test_augmentation_is_part_of_what_position_and_seed_decide():
    photos = [Example(np.kron(image, np.ones((4, 4, 1), np.uint8))) for image in PIXELS]
    plain, changed = (TaskPairs(photos, TASKS["inversion"](), 32, 32, 0, augment) for augment in (False, True))
    assert not np.array_equal(plain[0, 5][1], changed[0, 5][1])
    assert np.array_equal(changed[0, 5][1], changed[0, 5][1])
    assert not np.array_equal(changed[0, 5][1], changed[0, 6][1])
    source, target = changed[3, 8]
    assert np.array_equal(source, target)


def test_the_sheet_shows_the_first_pairs_of_the_training(tmp_path):
    photos = [Example(np.kron(image, np.ones((16, 16, 1), np.uint8))) for image in PIXELS]
    pairs = TaskPairs(photos, TASKS["super_resolution"]((4,)), 128, 128, 3)
    write_sheet(pairs, tmp_path / "pairs.png")
    sheet = read_image(tmp_path / "pairs.png")
    assert sheet.shape[1] == 8 * 128
    top = sheet.shape[0] - 5 * 128
    first, *_, last = (key for key, _ in zip(StreamSampler(9, 3), range(20), strict=False))
    for key, row, column in ((first, 0, 0), (last, 4, 3)):
        expected = np.concatenate(to_uint8(torch.from_numpy(np.stack(pairs[key]))), axis=1)
        y, x = top + row * 128, column * 256
        np.testing.assert_array_equal(sheet[y : y + 128, x : x + 256], expected)


def test_small_pictures_are_enlarged_in_the_sheet(tmp_path):
    write_sheet(pairs(), tmp_path / "pairs.png")
    assert read_image(tmp_path / "pairs.png").shape[1] == 8 * 128
