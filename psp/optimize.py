"""Inversion by optimisation: Adam on the codes of each image, the slow baseline that an encoder is measured against."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from psp.losses import WeightedLosses
from stylegan2.latents.project import ramped

LAMBDAS = {"l2": 1.0, "perceptual": 0.8}  # {loss: weight} of optimisation, as pSp trains inversion


def optimize_w_plus(
    generator: Any,
    target: Tensor,
    losses: WeightedLosses,
    start: Tensor,
    steps: int = 500,
    learning_rate: float = 0.1,
    on_step: Callable[[int], object] = lambda step: None,
) -> Tensor:
    """Codes whose rendering is closest to the target.

    Args:
        generator: frozen here; noise is its stored one.
        target: [N, 3, T, T] in [-1, 1]; renderings are area-averaged to T.
        losses: terms on (output, target), one value per sample, so that samples do not influence one another.
        start: [num_ws, w_dim] or [N, num_ws, w_dim], such as the latent average or an encoder's codes.
        on_step: called after each step with the number of steps done.

    Returns:
        w_plus [N, num_ws, w_dim].
    """
    w_plus = start.detach().expand(len(target), -1, -1).clone().requires_grad_(True)  # [N, num_ws, w_dim]
    optimizer = torch.optim.Adam([w_plus], lr=learning_rate, betas=(0.9, 0.999))
    frozen = [p for p in generator.parameters() if p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = learning_rate * ramped(step, steps)
            output = generator.synthesis(w_plus, noise_mode="const")  # [N, 3, R, R]
            output = nn.functional.adaptive_avg_pool2d(output, target.shape[-1])  # [N, 3, T, T]
            loss = losses.total(losses(output=output, target=target)) * len(target)  # a sum: each sample on its own
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            on_step(step + 1)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    return w_plus.detach()
