"""Fit a linear support vector machine with L2-regularised squared hinge loss, as scikit-learn's LinearSVC does."""

import torch
from torch import Tensor

ITERATIONS, TOLERANCE = 100, 1e-9
SUFFICIENT, SMALLEST_STEP = 1e-4, 2.0**-30


def fit_linear_svm(x: Tensor, positive: Tensor, c: float = 1.0) -> tuple[Tensor, Tensor]:
    """Minimise |weight|^2 / 2 + bias^2 / 2 + c sum_i max(0, 1 - y_i f(x_i))^2.

    The loss is piecewise quadratic, so Newton's method ends after a few steps (Keerthi and DeCoste 2005).

    Args:
        x: [N, D].
        positive: bool [N]; y is 1 where it is true, else -1.
        c: Weight of the hinge losses.

    Returns:
        Weight [D] and bias [] in float64.
    """
    x = torch.cat([x.double(), x.new_ones(len(x), 1, dtype=torch.float64)], dim=1)  # [N, D + 1]
    y = positive.double() * 2 - 1  # [N]
    w = x.new_zeros(x.shape[1])  # [D + 1]
    for _ in range(ITERATIONS):
        slack = (1 - y * (x @ w)).clamp(min=0)  # [N]
        active = x[slack > 0]  # [A, D + 1]
        gradient = w - 2 * c * (x.T @ (y * slack))
        if gradient.norm() <= TOLERANCE * (1 + 2 * c * (x.T @ y).norm()):
            break
        hessian = 2 * c * active.T @ active + torch.eye(len(w), dtype=w.dtype, device=w.device)
        w = _descend(x, y, w, gradient, -torch.linalg.solve(hessian, gradient), c)
    return w[:-1], w[-1]


def _descend(x: Tensor, y: Tensor, w: Tensor, gradient: Tensor, direction: Tensor, c: float) -> Tensor:
    """Return the weights after 1, 1/2, 1/4 ... of the Newton step, the first at which the objective falls enough."""
    start, slope, step = _objective(x, y, w, c), gradient @ direction, 1.0
    while step > SMALLEST_STEP and _objective(x, y, w + step * direction, c) > start + SUFFICIENT * step * slope:
        step /= 2
    return w + step * direction


def _objective(x: Tensor, y: Tensor, w: Tensor, c: float) -> Tensor:
    return w.square().sum() / 2 + c * (1 - y * (x @ w)).clamp(min=0).square().sum()
