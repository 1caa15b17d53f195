"""Attribution of images to a generator by projection (StyleGAN2, arXiv 1912.04958, section 5 and figure 10)."""

from collections.abc import Callable, Iterable
from typing import TypedDict

import torch
from torch import Tensor

from stylegan2.metrics.samples import prepare

PROTOCOL = (
    "StyleGAN2, section 5: each image is projected to W (1,000 steps); LPIPS (VGG-16) between it and its re-synthesis;"
    " a generator's own images come back nearly unchanged, real ones do not"
)
PAPER_STEPS = 1000
Images = Callable[[Tensor], Tensor]
"""maps targets [N, C, R, R] to their re-synthesis by the projector, [N, C, R, R]"""
Distance = Callable[[Tensor, Tensor], Tensor]  # two [N, 3, H, W] in [-1, 1] -> [N]


def projection_distances(images: Iterable[Tensor], project: Images, distance: Distance) -> Tensor:
    """Measure the distance of each image to its re-synthesis.

    Args:
        images: Batches [N, C, R, R].
        project: Re-synthesises a batch.
        distance: Compares two batches.

    Returns:
        [total] float64 on the CPU.
    """
    distances = []
    for batch in images:
        resynthesised = project(batch)  # [N, C, R, R]
        with torch.no_grad():
            distances.append(distance(prepare(resynthesised), prepare(batch)).double().cpu())  # [N]
    return torch.cat(distances)


class Attribution(TypedDict):
    """How well the distances tell generated from real images."""

    auc: float
    """probability that a real image lies farther off than a generated one: 1 separates them, 0.5 not at all"""
    generated: float
    """mean distance of generated images"""
    real: float
    """mean distance of real images"""
    roc: list[list[float]]
    """[[false positive rate, true positive rate]], where an image near its re-synthesis is called generated"""


def attribution(generated: Tensor, real: Tensor) -> Attribution:
    """Compare the distances [M] of generated images with the distances [N] of real ones."""
    return {
        "auc": area_under_roc(generated, real),
        "generated": float(generated.mean()),
        "real": float(real.mean()),
        "roc": roc(generated, real),
    }


def area_under_roc(low: Tensor, high: Tensor) -> float:
    """Compute P(high > low) + P(equal) / 2 over all pairs of [M] and [N] (Mann and Whitney 1947): from 0 to 1."""
    difference = high[:, None] - low[None, :]  # [N, M]
    return float(((difference > 0).double() + (difference == 0).double() / 2).mean())


def roc(positive: Tensor, negative: Tensor) -> list[list[float]]:
    """List [[false positive rate, true positive rate]] as the threshold rises, from [0, 0] to [1, 1].

    An image counts as positive where its distance is at most the threshold.
    """
    thresholds = torch.cat([positive, negative]).unique()  # [T], ascending
    rates = [[float((side <= t).double().mean()) for side in (negative, positive)] for t in thresholds]
    return [[0.0, 0.0], *rates]
