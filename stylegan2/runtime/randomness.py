"""Randomness that needs no saved state: every step re-seeds from where it stands, so a resumed run draws the same."""

from collections.abc import Callable
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
    """Return this process's rows of what is drawn for a whole batch.

    All processes draw the whole batch from the same seed, and so share one sequence of random numbers.

    Args:
        draw: Given a number of samples, draws one row for each.
        count: How many samples this process has.
    """
    return draw(count * distributed.world_size())[distributed.rank() :: distributed.world_size()]


def normal_like(samples: Tensor) -> Tensor:
    """Return N(0, 1) of the shape, type and layout of `samples` [N, ...], whose rows are this process's samples."""
    if distributed.world_size() == 1:
        return torch.randn_like(samples)
    # Numbers are drawn in the order of memory, which concatenation keeps.
    whole = torch.cat([samples.detach()] * distributed.world_size())  # [N * processes, ...]
    return draw_shard(lambda _: torch.randn_like(whole), len(samples))
