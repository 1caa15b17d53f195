"""Pivotal tuning (PTI, arXiv 2106.05744): a copy of the generator is tuned until it renders one image from one code.

Or a few images from a code each, such as the frames of a clip.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from psp.losses import WeightedLosses
from psp.model import Codes, as_rgb_pair, fit, rendered
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.randomness import derive_seed, seeded_normal

DISTANCE = 30.0  # alpha of the paper's eq. 4, over all rows together: distance from the pivot of the codes for locality


def tune_generator(
    generator: Generator,
    target: Tensor,
    pivot: Codes,
    losses: WeightedLosses,
    steps: int = 350,
    learning_rate: float = 3e-4,
    locality: float = 0.0,
    seed: int = 0,
    on_step: Callable[[int], object] = lambda step: None,
) -> Generator:
    """Tune a copy of the generator until it renders `target` from `pivot` (PTI, eq. 2).

    Args:
        generator: Stays as it is.
        target: [N, 3, T, T] in [-1, 1], T at most the generator's resolution; renderings are area-averaged to T.
        pivot: Codes of the images, w_plus [N, num_ws, w_dim].
        losses: Terms on (output, target); the paper's are l2 and LPIPS, each with weight 1. For codes with features see
            `psp.optimize.losses_for`.
        steps: Number of steps of Adam.
        learning_rate: Of Adam.
        locality: Weight of the paper's regularization (eq. 5): codes near the pivot go on giving what they gave.
        seed: Seed of the codes near the pivot.
        on_step: Called after each step with the number of steps done.

    Returns:
        The copy, in evaluation mode and without gradients. Its mapping network is the original's.
    """
    tuned = copy.deepcopy(generator).eval().requires_grad_(False)
    tuned.synthesis.requires_grad_(True)
    optimizer = torch.optim.Adam(tuned.synthesis.parameters(), lr=learning_rate)
    target = target.detach()
    for step in range(steps):
        loss = _distance(losses, tuned, pivot, target)
        if locality:
            nearby = Codes(_near(generator, pivot.w_plus, derive_seed(seed, step)), pivot.features)
            with torch.no_grad():
                unchanged = fit(rendered(generator, nearby), target.shape[-1])  # [N, img_channels, T, T]
            loss = loss + locality * _distance(losses, tuned, nearby, unchanged)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        on_step(step + 1)
    optimizer.zero_grad(set_to_none=True)
    return tuned.requires_grad_(False)


def _distance(losses: WeightedLosses, generator: Generator, codes: Codes, target: Tensor) -> Tensor:
    output, wanted = as_rgb_pair(fit(rendered(generator, codes), target.shape[-1]), target)  # [N, 3, T, T] each
    return losses.total(losses(output=output, target=wanted))


@torch.no_grad()
def _near(generator: Generator, pivot: Tensor, seed: int) -> Tensor:
    """Move each pivot by `DISTANCE` towards a random w (eq. 4): [N, num_ws, w_dim]."""
    z = seeded_normal((1, generator.z_dim), seed, pivot.device)
    direction = generator.mapping(z) - pivot  # [N, num_ws, w_dim]
    return pivot + DISTANCE * direction / direction.norm(dim=(1, 2), keepdim=True).clamp_min(1e-8)
