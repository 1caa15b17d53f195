"""Randomness without saved state: every step is seeded from its position, so that a resumed run draws the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from stylegan2.runtime import distributed
from stylegan2.runtime.errors import UserError

Rows = TypeVar("Rows", bound="Sliceable")


class Sliceable(Protocol):
    """Rows of a batch, of which a slice is of the same type, such as a tensor [N, ...]."""

    def __getitem__(self: Rows, rows: slice, /) -> Rows: ...


def derive_seed(*position: int) -> int:
    """Return a well-mixed 63-bit seed for integers such as (seed, rank, cur_nimg). UserError: one is negative."""
    if min(position) < 0:
        raise UserError(f"a seed must not be negative, but is {min(position)}")
    return int(np.random.SeedSequence(position).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_step(seed: int, rank: int, cur_nimg: int) -> None:
    """Seed PyTorch's global generators on the CPU and on every accelerator at the start of a training step."""
    torch.manual_seed(derive_seed(seed, rank, cur_nimg))


def seeded_normal(shape: tuple[int, ...], seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Draw N(0, 1) on the CPU, so that a seed gives the same latents on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def draw_shard(draw: Callable[[int], Rows], count: int) -> Rows:
    """Draw random numbers for a whole batch, and return the rows of this process, and within `rounds` of this round.

    All processes draw the whole batch from the same seed, and so share one sequence of random numbers.

    Args:
        draw: Takes a number of samples and draws one row for each.
        count: Number of samples of this process in this round.
    """
    _, shards = _shard()
    return own_shard(draw(count * shards))


def own_shard(whole: Rows) -> Rows:
    """Return the rows of this process, and within `rounds` of this round, of one row for each sample of a batch."""
    shard, shards = _shard()
    return whole[shard::shards]


def normal_like(samples: Tensor) -> Tensor:
    """Draw N(0, 1) of the shape, type and layout of `samples` [N, ...], with the rows that `draw_shard` returns."""
    _, shards = _shard()
    if shards == 1:
        return torch.randn_like(samples)
    # Numbers are drawn in memory order, which concatenation keeps.
    whole = torch.cat([samples.detach()] * shards)  # [N * shards, ...]
    return draw_shard(lambda _: torch.randn_like(whole), len(samples))


_round = 0, 1  # (number, of how many)


def rounds(count: int, device: torch.device) -> Iterator[int]:
    """Yield the indices 0, 1, ..., count - 1 of the rounds in which a batch is processed to save memory.

    Sample i of this process's share belongs to round i mod `count`. Each round begins with the same state of the
    generators and draws for the whole batch (`draw_shard`), so that each sample gets the numbers that it would get
    without rounds.
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
    """Restore the state of the generators at the end, so that the code that follows draws the same numbers again."""
    start = _generator_states(device)
    try:
        yield
    finally:
        _set_generator_states(device, start)


def _shard() -> tuple[int, int]:
    """Return (index, count) of the present part of the batch, which is that of this process and round."""
    number, count = _round
    return distributed.rank() + distributed.world_size() * number, distributed.world_size() * count


def _generator_states(device: torch.device) -> list[Tensor]:
    """Return the states of the CPU's and the device's generator, kept on the host so that nothing waits."""
    own = [] if device.type == "cpu" else [torch.get_device_module(device).get_rng_state(*_index(device))]
    return [torch.get_rng_state(), *own]


def _set_generator_states(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[1], *_index(device))


def _index(device: torch.device) -> list[torch.device]:
    """Return the argument that selects one of several devices, which may not be the current one."""
    return [] if device.type == "mps" else [device]  # there is only one, and its functions take no argument
