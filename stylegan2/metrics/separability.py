"""Measure the linear separability of a latent space (StyleGAN, arXiv 1812.04948, section 4.2)."""

import math
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.progress import track

PROTOCOL = (
    "StyleGAN, section 4.2: 200,000 samples, no truncation; for each attribute the 100,000 on which its classifier is"
    " most confident; a linear SVM on the latents; exp of the summed conditional entropies H(Y|X), Y the classifier's"
    " label and X the SVM's, on the samples it was fitted to; 40 CelebA attributes, classifiers as large as D"
)
PAPER_SAMPLES = 200_000
CONFIDENT_SHARE = 0.5
SAMPLES_PER_DIMENSION = 10  # with this many samples per latent dimension, the SVM's training samples are an honest test
ITERATIONS, TOLERANCE = 100, 1e-9  # of Newton's method
SUFFICIENT, SMALLEST_STEP = 1e-4, 2.0**-30  # of the search along its direction


class Separability(TypedDict):
    """How linearly separable attributes are in the latents."""

    score: float
    """score of the paper: 1 if every attribute is separable, more otherwise"""
    held_out: float
    """score with each half labelled by the SVM of the other half, so that overfitting does not improve it"""
    entropies: dict[str, float]
    """{attribute: H(Y|X) in nats}, from which the score is computed"""
    constant: list[str]
    """attributes with only one value among the kept samples, so that their entropy is 0 for any latents"""


def separability(latents: Tensor, logits: Tensor, names: Sequence[str]) -> Separability:
    """Score how linearly separable attributes are in the latents.

    Args:
        latents: z or w [N, D].
        logits: Logits [N, A] of a classifier on the images, one column per attribute.
        names: Names of the attributes.

    Raises:
        UserError: There are fewer than 8 samples.
    """
    if len(latents) < 8:
        raise UserError(f"linear separability needs at least 8 samples, not {len(latents)}")
    entropies, held_out, constant = {}, {}, []
    for column, name in enumerate(track(names, "separability", "attribute", leave=False)):
        kept = most_confident(logits[:, column])  # [N / 2]
        x, y = latents[kept].double().cpu(), logits[kept, column].cpu() > 0
        if y.all() or not y.any():
            constant.append(name)
        entropies[name] = conditional_entropy(y, predict(x, y, x))
        even, odd = slice(0, None, 2), slice(1, None, 2)
        crossed = torch.cat([predict(x[odd], y[odd], x[even]), predict(x[even], y[even], x[odd])])
        held_out[name] = conditional_entropy(torch.cat([y[even], y[odd]]), crossed)
    return {
        "score": math.exp(sum(entropies.values())),
        "held_out": math.exp(sum(held_out.values())),
        "entropies": entropies,
        "constant": constant,
    }


def most_confident(logits: Tensor, share: float = CONFIDENT_SHARE) -> Tensor:
    """Return the indices, in ascending order, of the share of samples whose |logit| is largest; logits are [N]."""
    count = max(1, int(len(logits) * share))
    return logits.abs().topk(count).indices.sort().values


def predict(x: Tensor, y: Tensor, others: Tensor) -> Tensor:
    """Label `others` [M, D] by a linear SVM fitted to x [N, D] and y [N] bool: [M] bool."""
    weight, bias = fit_linear_svm(x, y)
    return others @ weight + bias > 0


def conditional_entropy(y: Tensor, x: Tensor) -> float:
    """Compute H(Y|X) = -sum_xy p(x, y) log p(y|x) in nats, of two bool tensors [N]."""
    total = 0.0
    for side in (x, ~x):
        for joint in (side & y, side & ~y):
            p = float(joint.double().mean())
            total -= p * math.log(p / float(side.double().mean())) if p else 0.0
    return total


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
