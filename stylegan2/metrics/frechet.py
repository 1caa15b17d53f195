"""Compute the Frechet distance of two Gaussians fitted to features (Heusel et al. 2017, arXiv 1706.08500, eq. 6).

It is called FID only on the pooled features of the TensorFlow Inception of 2015; on others it bears their name.
"""

import torch
from torch import Tensor

from stylegan2.metrics.features import FeatureStatistics

PROTOCOL = (
    "StyleGAN2, section 1 and Heusel et al. 2017: Inception features of 50,000 samples without truncation"
    " against those of all training images"
)
PAPER_SAMPLES = 50_000


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Compute |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2))."""
    return gaussian_distance(a.mean, a.covariance, b.mean, b.covariance)


def gaussian_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Compute the Frechet distance of Gaussians with means [D] and covariances [D, D], which may be singular.

    The eigenvalues of cov_a cov_b are those of the symmetric cov_a^(1/2) cov_b cov_a^(1/2), whose decomposition is
    stable where a general matrix square root is not.
    """
    root = square_root(cov_a.double())
    inner = root @ cov_b.double() @ root  # [D, D]
    cross = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    squared = (mean_a.double() - mean_b.double()).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(float(squared), 0.0)  # only rounding makes it negative


def square_root(matrix: Tensor) -> Tensor:
    """Return the symmetric square root of a symmetric positive semi-definite matrix [D, D]."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
