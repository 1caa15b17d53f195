"""Inversion by optimisation: Adam on the codes of each image, the slow baseline of encoders."""

from collections.abc import Callable

import torch
from torch import Tensor

from psp.losses import WeightedLosses
from psp.model import Codes, as_rgb_pair, rendered
from stylegan2 import ops
from stylegan2.latents.project import ramped
from stylegan2.networks.protocols import Generator

LAMBDAS = {"l2": 1.0, "perceptual": 0.8}  # {loss: weight}, as in pSp's training for inversion
# With features a generator renders details in their place, for which the squared error is the better guide: on held-out
# photographs identity and LPIPS are best with it (docs/results.md). W+ codes lose sharpness with more than 1.
FEATURE_L2 = 10.0  # factor on the weight of l2 for codes with features


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
            loss = losses.total(losses(output=output, target=wanted)) * len(
                target
            )  # a sum keeps the samples independent of each other
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            on_step(step + 1)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    return Codes(w_plus.detach(), None if features is None else features.detach())
