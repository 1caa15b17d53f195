"""Running statistics against numpy on the whole."""

import numpy as np
import pytest
import torch

from stylegan2.metrics.features import FeatureStatistics, feature_statistics
from stylegan2.runtime.errors import UserError


def test_batches_of_any_size_give_the_statistics_of_the_whole():
    x = torch.randn(57, 9) * torch.arange(1, 10) + 1e4  # far from 0: sums of squares would cancel
    found = FeatureStatistics(keep=True)
    for part in x.split([1, 20, 3, 33]):
        found.add(part)
    assert found.count == 57
    np.testing.assert_allclose(found.mean, x.double().mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x.double().numpy(), rowvar=False), rtol=1e-9)
    assert torch.equal(found.kept, x)


def test_features_are_kept_only_on_demand():
    found = feature_statistics([torch.ones(2, 3, 4, 4)], lambda images: images.mean([2, 3]))
    assert found.kept is None
    assert "features" not in found.tensors()


@pytest.mark.parametrize("keep", [False, True])
def test_a_file_of_them_reads_back(keep):
    found = FeatureStatistics(keep)
    found.add(torch.randn(10, 4))
    again = FeatureStatistics.restore(found.tensors())
    assert again.count == 10
    assert torch.equal(again.covariance, found.covariance)
    assert torch.equal(again.mean, found.mean)
    assert (again.kept is None) == (not keep)


def test_what_cannot_be_described_is_refused():
    found = FeatureStatistics()
    with pytest.raises(ValueError, match="not finite"):
        found.add(torch.tensor([[1.0, float("nan")]]))
    found.add(torch.zeros(1, 2))
    with pytest.raises(UserError, match="at least 2 images"):
        _ = found.covariance
