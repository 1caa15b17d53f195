"""Inversion by optimisation: of the codes of each image, or of a copy of the generator.

The first, Adam on the codes, is the slow baseline of encoders. The second is pivotal tuning (PTI, arXiv 2106.05744):
the copy is tuned until it renders one image, or a few images such as the frames of a clip, from their codes.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from psp.losses import WeightedLosses
from psp.model import Codes, as_rgb_pair, fit, rendered
from stylegan2 import ops
from stylegan2.latents.project import ramped
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.randomness import derive_seed, seeded_normal

LAMBDAS = {"l2": 1.0, "perceptual": 0.8}  # {loss: weight}, as in pSp's training for inversion
# With features a generator renders details in their place, for which the squared error is the better guide: on held-out
# photographs identity and LPIPS are best with it (docs/results.md). W+ codes lose sharpness with more than 1.
FEATURE_L2 = 10.0  # factor on the weight of l2 for codes with features
PIVOT_DISTANCE = 30.0  # distance of the codes for locality from the pivot, over all rows together (PTI, alpha in eq. 4)


def losses_for(codes: Codes, losses: WeightedLosses) -> WeightedLosses:
    """Weigh the squared error `FEATURE_L2` times as much if the codes have features."""
    return losses if codes.features is None else losses.weighed({"l2": FEATURE_L2})


def optimize_codes(
    generator: Generator,
    target: Tensor,
    losses: WeightedLosses,
    start: Codes,
    steps: int = 500,
    learning_rate: float = 0.1,
    on_step: Callable[[int], object] = lambda step: None,
) -> Codes:
    """Find the codes whose rendering is closest to the target.

    Args:
        generator: The generator, which is frozen and uses its stored noise.
        target: [N, 3, T, T] in [-1, 1], or of the generator's channels; renderings are area-averaged to T.
        losses: Terms on (output, target), one value per sample, so that samples do not influence one another.
        start: Initial codes, such as those of an encoder, or the latent average [num_ws, w_dim] for all samples.
            Features, if there are any, are optimised too; `losses_for` weighs the losses for them.
        steps: Number of steps.
        learning_rate: Learning rate of Adam.
        on_step: Called after each step with the number of steps so far.

    Returns:
        The codes, with w_plus [N, num_ws, w_dim].
    """
    w_plus = start.w_plus.detach().expand(len(target), -1, -1).clone().requires_grad_(True)  # [N, num_ws, w_dim]
    features = None if start.features is None else start.features.detach().clone().requires_grad_(True)  # [N, C, r, r]
    learned = [w_plus] if features is None else [w_plus, features]
    optimizer = torch.optim.Adam(learned, lr=learning_rate, betas=(0.9, 0.999))
    frozen = [p for p in generator.parameters() if p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = learning_rate * ramped(step, steps)
            output = rendered(generator, Codes(w_plus, features))  # [N, img_channels, R, R]
            output, wanted = as_rgb_pair(ops.area_downsample(output, target.shape[-1]), target)  # [N, 3, T, T] each
            mean = losses.total(losses(output=output, target=wanted))
            loss = mean * len(target)  # a sum keeps the samples independent of each other
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            on_step(step + 1)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    return Codes(w_plus.detach(), None if features is None else features.detach())


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
        generator: The generator, which is not changed.
        target: [N, 3, T, T] in [-1, 1], T at most the generator's resolution; renderings are area-averaged to T.
        pivot: Codes of the images, w_plus [N, num_ws, w_dim].
        losses: Terms on (output, target); the paper's are l2 and LPIPS, each with weight 1. For codes with features see
            `losses_for`.
        steps: Number of steps of Adam.
        learning_rate: Learning rate of Adam.
        locality: Weight of the regularization that keeps the renderings of codes near the pivot (eq. 5).
        seed: Seed of the codes near the pivot.
        on_step: Called after each step with the number of steps so far.

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
    """Move each pivot by `PIVOT_DISTANCE` towards a random w (eq. 4): [N, num_ws, w_dim]."""
    z = seeded_normal((1, generator.z_dim), seed, pivot.device)
    direction = generator.mapping(z) - pivot  # [N, num_ws, w_dim]
    return pivot + PIVOT_DISTANCE * direction / direction.norm(dim=(1, 2), keepdim=True).clamp_min(1e-8)
