"""Randomness that needs no saved state: every step re-seeds from where it stands, so a resumed run draws the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylegan2.runtime import distributed
from stylegan2.runtime.errors import UserError


def derive_seed(*position: int) -> int:
    """A well-mixed 63-bit seed from integers such as (seed, rank, cur_nimg)."""
    if min(position) < 0:
        raise UserError(f"a seed must not be negative, but is {min(position)}")
    return int(np.random.SeedSequence(position).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_step(seed: int, rank: int, cur_nimg: int) -> None:
    """Re-seed PyTorch's global generators (CPU and accelerator) at the start of a training step."""
    torch.manual_seed(derive_seed(seed, rank, cur_nimg))


def seeded_normal(shape: tuple[int, ...], seed: int, device: torch.device | str = "cpu") -> Tensor:
    """N(0, 1) drawn on the CPU, so that a seed gives the same latents on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def own_rows(draw: Callable[[int], Any], count: int) -> Any:
    """`draw(count)`, one row a sample; of several processes each draws for the whole batch and takes its own samples.

    `count` is of this process's samples. All processes draw from the same seed, and so share one sequence of numbers.
    """
    return draw(count * distributed.world())[distributed.rank() :: distributed.world()]


def normal_like(samples: Tensor) -> Tensor:
    """N(0, 1) of the shape, type and layout of `samples` [N, ...], whose rows are this process's samples."""
    # Numbers are drawn in the order of memory, which concatenation keeps.
    whole = torch.cat([samples.detach()] * distributed.world()) if distributed.world() > 1 else samples
    return own_rows(lambda _: torch.randn_like(whole), len(samples))
