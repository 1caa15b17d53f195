"""Compute improved precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2)."""

import torch
from torch import Tensor

from stylegan2.runtime.errors import UserError

PROTOCOL = (
    "Kynkaanniemi et al. 2019: k = 3 nearest neighbours, VGG-16 fc2 features, 50,000 samples and as many real images,"
    " without truncation"
)
PAPER_SAMPLES = 50_000
BLOCK = 1024  # rows of the distance matrix that exist at a time


def precision_recall(real: Tensor, fake: Tensor, k: int = 3, block: int = BLOCK) -> tuple[float, float]:
    """Compute the share of fakes on the manifold of the reals, and the share of reals on the manifold of the fakes.

    A manifold is the union of balls around a set's features, each of which reaches its k-th nearest neighbour.

    Args:
        real: Features [M, D].
        fake: Features [N, D].
        k: Which nearest neighbour sets the radius of a ball.
        block: Rows of the distance matrix that exist at a time.

    Returns:
        (precision, recall), from 0 to 1.

    Raises:
        UserError: There are k images or fewer on one side.
    """
    if min(len(real), len(fake)) <= k:
        raise UserError(f"precision and recall with k = {k} need more than {k} images on either side")
    centre = real.double().mean(0)
    real, fake = real.double() - centre, fake.double() - centre  # squared distances lose fewer digits around the origin
    radii_real, radii_fake = squared_radii(real, k, block), squared_radii(fake, k, block)  # [M], [N]
    precise, recalled = 0, torch.zeros(len(real), dtype=torch.bool)
    for x, radii in zip(fake.split(block), radii_fake.split(block), strict=True):
        distances = squared_distances(x, real)  # [block, M]
        precise += int((distances <= radii_real).any(1).sum())
        recalled |= (distances <= radii[:, None]).any(0)  # [M]
    return precise / len(fake), float(recalled.double().mean())


def squared_radii(features: Tensor, k: int, block: int = BLOCK) -> Tensor:
    """Return the squared distance of each feature [N, D] to its k-th nearest neighbour among the others: [N]."""
    parts = [squared_distances(x, features).kthvalue(k + 1, dim=1).values for x in features.split(block)]
    return torch.cat(parts)  # the first neighbour of a feature is the feature itself


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Compute the squared distances of [M, D] and [N, D]: [M, N]."""
    return torch.addmm(x.square().sum(1)[:, None] + y.square().sum(1), x, y.T, alpha=-2).clamp(min=0)
