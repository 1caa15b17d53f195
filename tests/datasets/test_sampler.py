"""The order in which samples are shown, from any data and from shards: complete, resumable and dealt out once."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.sampler import WINDOW, ShardSampler, StreamSampler

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


class Places:
    """A substitute for the shards, which records the shards to download in advance."""

    def __init__(self, count, remote=False):
        self.count, self.remote, self.asked = count, remote, []

    def __len__(self):
        return self.count

    def fetch_ahead(self, numbers):
        self.asked += numbers


def sampler(count=40, each=25, start=0, rank=0, world_size=1, places=None):
    shard_of = np.repeat(np.arange(count, dtype=np.int32), each)
    return ShardSampler(places or Places(count), shard_of, count * each, 7, start, rank, world_size)


@pytest.mark.parametrize("count", [1, WINDOW, 40])
def test_each_epoch_shows_every_sample_once_in_another_order(count):
    keys = list(islice(sampler(count), 2 * count * 25))
    first, second = ([index for index, _ in part] for part in (keys[: count * 25], keys[count * 25 :]))
    assert sorted(first) == sorted(second) == list(range(count * 25))
    assert first != second
    assert [position for _, position in keys] == list(range(2 * count * 25))


@pytest.mark.parametrize("start", [1, 999, 1000, 1501])
def test_it_goes_on_at_any_position(start):
    assert list(islice(sampler(start=start), 700)) == list(islice(sampler(), start, start + 700))


@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_ranks_share_what_one_process_reads(world_size):
    parts = [list(islice(sampler(rank=rank, world_size=world_size), 240)) for rank in range(world_size)]
    together = sorted((key for part in parts for key in part), key=lambda key: key[1])
    assert together == list(islice(sampler(), 240 * world_size))


def test_few_shards_are_open_at_a_time_and_all_are_mixed():
    keys = [index // 25 for index, _ in islice(sampler(count=100), 2500)]
    first = {shard: keys.index(shard) for shard in range(100)}
    last = {shard: len(keys) - 1 - keys[::-1].index(shard) for shard in range(100)}
    at_once = [sum(first[s] <= at <= last[s] for s in range(100)) for at in range(2500)]
    assert max(at_once) <= WINDOW + 8
    batches = [len(set(keys[at : at + 16])) for at in range(600, 1900, 16)]
    assert np.mean(batches) > 8  # of 16 samples


def test_shards_elsewhere_are_asked_for_before_their_first_sample():
    places = Places(60, remote=True)
    due = {}
    for index, position in islice(sampler(60, 25, places=places), 2 * 60 * 25):
        shard = index // 25
        if position < 1500 and shard not in due:
            due[shard] = position
            assert shard in places.asked, (shard, position)
        if position == 500:
            assert len(set(places.asked)) < 45  # not all at once
    assert set(places.asked) == set(range(60))


def test_a_resumed_epoch_asks_for_the_rest_alone():
    places = Places(60, remote=True)
    keys = list(islice(sampler(60, 25, start=1400, places=places), 99))
    assert {index // 25 for index, _ in keys} <= set(places.asked)
    assert len(set(places.asked)) < 30
