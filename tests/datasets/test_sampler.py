from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.sampler import StreamSampler

lengths, seeds, starts = st.integers(1, 40), st.integers(0, 2**40), st.integers(0, 300)


def first(count, *args, **kwargs):
    return list(islice(StreamSampler(*args, **kwargs), count))


@given(lengths, seeds)
def test_every_epoch_is_a_permutation(length, seed):
    stream = first(4 * length, length, seed)
    for epoch in range(4):
        indices = [index for index, _ in stream[epoch * length : (epoch + 1) * length]]
        assert sorted(indices) == list(range(length))
    assert [position for _, position in stream] == list(range(4 * length))


@given(lengths, seeds, starts)
def test_any_start_is_a_suffix_of_the_stream(length, seed, start):
    assert first(60, length, seed, start) == first(start + 60, length, seed)[start:]


@given(lengths, seeds, starts, st.integers(1, 5))
def test_ranks_take_turns(length, seed, start, world_size):
    ranks = [first(20, length, seed, start, rank, world_size) for rank in range(world_size)]
    taken_in_turns = [ranks[i % world_size][i // world_size] for i in range(20 * world_size)]
    assert taken_in_turns == first(20 * world_size, length, seed, start)


def test_epochs_and_seeds_differ():
    stream = [index for index, _ in first(300, 100, 0)]
    assert stream[:100] != stream[100:200] != stream[200:] != stream[:100]
    assert stream[:100] != [index for index, _ in first(100, 100, 1)]
    assert stream[:100] != list(range(100))


@pytest.mark.parametrize("index", [0, 49])
def test_each_image_may_come_anywhere(index):
    """The mean place of an image over many epochs is the middle."""
    places = [position % 50 for i, position in first(50 * 400, 50, 0) if i == index]
    assert sum(places) / len(places) == pytest.approx(24.5, abs=3)
