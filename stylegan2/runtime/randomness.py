"""Randomness that needs no saved state: every step re-seeds from where it stands, so a resumed run draws the same."""

import numpy as np
import torch

from stylegan2.runtime.errors import UserError


def derive_seed(*position: int) -> int:
    """A well-mixed 63-bit seed from integers such as (seed, rank, cur_nimg)."""
    if min(position) < 0:
        raise UserError(f"a seed must not be negative, but is {min(position)}")
    return int(np.random.SeedSequence(position).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_step(seed: int, rank: int, cur_nimg: int) -> None:
    """Re-seed PyTorch's global generators (CPU and accelerator) at the start of a training step."""
    torch.manual_seed(derive_seed(seed, rank, cur_nimg))


def seeded_normal(shape: tuple[int, ...], seed: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """N(0, 1) drawn on the CPU, so that a seed gives the same latents on every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
