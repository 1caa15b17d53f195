"""Conjugate gradients on the generator's features, which remove what the passes of an encoder leave of the error.

The rendering is nearly linear in a small change of the features, so their squared error is nearly a linear problem of
least squares. The encoder finds the few large steps, which need experience of pictures. Conjugate gradients find the
many small ones, which hardly change the features: the nonlinear method of Polak and Ribiere (Nocedal and Wright,
Numerical Optimization, 2006, eq. 5.44), with step lengths of the Gauss-Newton method and, since features differ in
their effect, a diagonal preconditioner (section 5.1) of the kind that Adam uses.
"""

from collections.abc import Callable

import torch
from torch import Tensor

PROBE = 0.01  # length of the first step along which the change of the error is measured, relative to the features
DAMPING = 0.3  # of the preconditioner, relative to the gradient
SHORTEST = 1e-6  # root mean square of such a step
TINY = 1e-20


def descend(error_of: Callable[[Tensor], Tensor], features: Tensor, steps: int) -> Tensor:
    """Reduce the squared error of each sample by steps of conjugate gradients.

    Args:
        error_of: Maps features to errors [N, C, S, S]. It must treat the samples independently.
        features: Where to start, [N, C', r, r].
        steps: Number of steps; each needs the error twice and its gradient once.

    Returns:
        The features [N, C', r, r] with the smallest error that was met, for each sample. They are not differentiable.
    """
    best = features = features.detach()
    smallest = torch.full_like(rms(features), torch.inf)  # [N, 1, 1, 1]
    direction = before = scaled = scale = torch.zeros_like(features)  # [N, C', r, r]
    probe = PROBE * rms(features)  # [N, 1, 1, 1]; later the length of the last step
    for step_number in range(steps):
        error, gradient = differentiate(error_of, features)  # [N, C, S, S] and [N, C', r, r]
        if step_number == 0:
            scale = rms(gradient) / (gradient.abs() + DAMPING * rms(gradient) + TINY)
        squared, norm = dot(error, error), dot(before, scaled)  # [N, 1, 1, 1]
        better = squared < smallest
        best, smallest = torch.where(better, features, best), torch.minimum(squared, smallest)
        # Where the error grew, the last direction misleads: the next step follows the gradient alone.
        weight = dot(scale * gradient, gradient - before).clamp(min=0) / (norm + TINY)  # [N, 1, 1, 1]
        before, scaled = gradient, scale * gradient
        direction = torch.where(better & (norm > 0), weight, 0.0) * direction - scaled
        with torch.no_grad():
            trial = direction * (probe.clamp(min=SHORTEST) / (rms(direction) + TINY))
            change = error_of(features + trial) - error  # [N, C, S, S]
            step = trial * (-dot(error, change) / (dot(change, change) + TINY))  # [N, C', r, r]
            features, probe = features + step, rms(step)
    with torch.no_grad():
        error = error_of(features)
        return torch.where(dot(error, error) < smallest, features, best)


def differentiate(error_of: Callable[[Tensor], Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the error [N, C, S, S] of features, and the gradient [N, C', r, r] of half of its square."""
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        error = error_of(features)
        (gradient,) = torch.autograd.grad(error.square().sum() / 2, features)
    return error.detach(), gradient


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each sample: [N, C, H, W] -> [N, 1, 1, 1]."""
    return (a * b).sum((1, 2, 3), keepdim=True)


def rms(x: Tensor) -> Tensor:
    """Return the root mean square of each sample: [N, C, H, W] -> [N, 1, 1, 1]."""
    return x.square().mean((1, 2, 3), keepdim=True).sqrt()
