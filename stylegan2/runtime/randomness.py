"""Randomness that needs no saved state: every step re-seeds from where it stands, so a resumed run draws the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylegan2.runtime import distributed
from stylegan2.runtime.errors import UserError


def derive_seed(*position: int) -> int:
    """Return a well-mixed 63-bit seed for integers such as (seed, rank, cur_nimg). UserError: one is negative."""
    if min(position) < 0:
        raise UserError(f"a seed must not be negative, but is {min(position)}")
    return int(np.random.SeedSequence(position).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_step(seed: int, rank: int, cur_nimg: int) -> None:
    """Seed PyTorch's global generators, those of the CPU and of every accelerator, at the start of a training step."""
    torch.manual_seed(derive_seed(seed, rank, cur_nimg))


def seeded_normal(shape: tuple[int, ...], seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Return N(0, 1) drawn on the CPU, so that a seed gives the same latents on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def draw_shard(draw: Callable[[int], Any], count: int) -> Any:
    """Return this process's rows, and in `rounds` this round's, of what is drawn for a whole batch.

    All processes draw the whole batch from the same seed, and so share one sequence of random numbers.

    Args:
        draw: Given a number of samples, draws one row for each.
        count: How many samples this process has in this round.
    """
    _, shards = _shard()
    return own_shard(draw(count * shards))


def own_shard(whole: Any) -> Any:
    """Return this process's rows, and in `rounds` this round's, of what has one for each sample of a whole batch."""
    shard, shards = _shard()
    return whole[shard::shards]


def normal_like(samples: Tensor) -> Tensor:
    """Return N(0, 1) of the shape, type and layout of `samples` [N, ...], whose rows are as those of `draw_shard`."""
    _, shards = _shard()
    if shards == 1:
        return torch.randn_like(samples)
    # Numbers are drawn in the order of memory, which concatenation keeps.
    whole = torch.cat([samples.detach()] * shards)  # [N * shards, ...]
    return draw_shard(lambda _: torch.randn_like(whole), len(samples))


_round = 0, 1  # (number, of how many)


def rounds(count: int, device: torch.device) -> Iterator[int]:
    """Yield the numbers of the rounds 0, 1, ..., count - 1 that a batch is worked through in, to save memory.

    Sample i of this process's share belongs to round i mod `count`. Each round begins with the same state of the
    generators and draws for the whole batch (`draw_shard`): the samples get the numbers that they would get at once.
    """
    global _round
    if count == 1:
        yield 0
        return
    start = _generator_states(device)
    try:
        for number in range(count):
            _set_generator_states(device, start)
            _round = number, count
            yield number
    finally:
        _round = 0, 1


@contextmanager
def rehearsal(device: torch.device) -> Iterator[None]:
    """Give the generators back their state at the end, so that what follows draws the same numbers again."""
    start = _generator_states(device)
    try:
        yield
    finally:
        _set_generator_states(device, start)


def _shard() -> tuple[int, int]:
    """Return (number, of how many) of the part of the batch that is worked on: this process's, of this round."""
    number, count = _round
    return distributed.rank() + distributed.world_size() * number, distributed.world_size() * count


def _generator_states(device: torch.device) -> list[Tensor]:
    """Return the states of the CPU's generator and the device's. They are kept on the host: nothing waits."""
    own = [] if device.type == "cpu" else [torch.get_device_module(device).get_rng_state()]
    return [torch.get_rng_state(), *own]


def _set_generator_states(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[1])
