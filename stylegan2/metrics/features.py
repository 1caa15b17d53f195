"""Compute mean and covariance of features that arrive in batches."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from stylegan2.runtime.errors import UserError

Features = Callable[[Tensor], Tensor]
"""maps images [N, C, R, R] in [-1, 1] to features [N, D]"""


class FeatureStatistics:
    """Collect count, mean [D] and covariance [D, D] of features in float64.

    Batches are merged pairwise (Chan, Golub and LeVeque 1979), which avoids the cancellation that sums of squares
    suffer.

    Args:
        keep: Whether to keep the features themselves too.
    """

    def __init__(self, keep: bool = False) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self._scatter = torch.zeros(0, 0, dtype=torch.float64)  # sum of (x - mean) (x - mean)^T
        self._kept: list[Tensor] | None = [] if keep else None

    def add(self, features: Tensor) -> None:
        """Add features [N, D], N >= 1. ValueError: they are not finite."""
        x = features.detach().cpu()
        if not x.isfinite().all():
            raise ValueError(
                "the features are not finite: either the images are not finite, or the network's weights are damaged"
            )
        if self._kept is not None:
            self._kept.append(x.float())
        x = x.double()
        mean = x.mean(0)  # [D]
        if self.count == 0:
            self.mean, self._scatter = torch.zeros_like(mean), mean.new_zeros(len(mean), len(mean))
        total, delta = self.count + len(x), mean - self.mean
        self._scatter += (x - mean).T @ (x - mean) + torch.outer(delta, delta) * (self.count * len(x) / total)
        self.mean = self.mean + delta * (len(x) / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """Return the unbiased covariance [D, D]. UserError: there are fewer than two samples."""
        if self.count < 2:
            raise UserError(f"a covariance needs at least 2 images, not {self.count}")
        return self._scatter / (self.count - 1)

    @property
    def kept(self) -> Tensor | None:
        """Return all features [count, D] in float32, or None if they are not kept."""
        return None if self._kept is None else torch.cat(self._kept)

    def tensors(self) -> dict[str, Tensor]:
        """Return the statistics as tensors, from which `restore` rebuilds them."""
        tensors = {"count": torch.tensor(self.count), "mean": self.mean, "scatter": self._scatter}
        return tensors if self._kept is None else {**tensors, "features": torch.cat(self._kept)}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> "FeatureStatistics":
        """Build the statistics from what `tensors` returned."""
        statistics = cls()
        statistics.count = int(tensors["count"])
        statistics.mean, statistics._scatter = tensors["mean"], tensors["scatter"]
        statistics._kept = [tensors["features"]] if "features" in tensors else None
        return statistics


@torch.no_grad()
def feature_statistics(images: Iterable[Tensor], features: Features, keep: bool = False) -> FeatureStatistics:
    """Compute the statistics of the features of batches of images [N, C, R, R]."""
    statistics = FeatureStatistics(keep)
    for batch in images:
        statistics.add(features(batch))
    return statistics
