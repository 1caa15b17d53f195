"""Compute the kernel distance, the unbiased squared MMD of features (Binkowski et al. 2018, arXiv 1801.01401).

It is called KID only on the pooled features of the TensorFlow Inception of 2015; on others it bears their name.
"""

import torch
from torch import Tensor

from stylegan2.runtime.errors import UserError

PROTOCOL = (
    "Binkowski et al. 2018, section 4: kernel (x.y / D + 1)^3 on Inception features, unbiased estimate,"
    " mean over 100 subsets of 1,000; StyleGAN2-ADA takes 50,000 samples"
)
PAPER_SAMPLES = 50_000


def kernel_distance(
    real: Tensor, fake: Tensor, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Estimate the kernel distance over random subsets.

    Args:
        real: Features [M, D], at least two.
        fake: Features [N, D], at least two.
        subsets: Number of subsets.
        subset_size: Features in each subset; fewer where a set is smaller.
        seed: Seed of the subsets.

    Returns:
        Mean and standard deviation of the estimates. The mean is about 0, and can be negative, for equal distributions.

    Raises:
        UserError: There are fewer than two features on one side.
    """
    size = min(subset_size, len(real), len(fake))
    if size < 2:
        raise UserError("a kernel distance needs at least 2 images on either side")
    draw = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(subsets):
        x, y = (f[torch.randperm(len(f), generator=draw)[:size]].double() for f in (real, fake))  # [size, D]
        values.append(unbiased_mmd2(x, y))
    estimates = torch.stack(values)
    return float(estimates.mean()), float(estimates.std(unbiased=False))


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Compute the kernel (x.y / D + 1)^3 between [M, D] and [N, D]: [M, N]."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def unbiased_mmd2(x: Tensor, y: Tensor) -> Tensor:
    """Compute the U-statistic of E k(x, x') + E k(y, y') - 2 E k(x, y) (Gretton 2012, eq. 3). [M, D], [N, D] -> []."""
    within = [k.sum().sub(k.trace()) / (len(k) * (len(k) - 1)) for k in map(polynomial_kernel, (x, y), (x, y))]
    return within[0] + within[1] - 2 * polynomial_kernel(x, y).mean()
