"""The Frechet distance against closed forms, a general matrix square root, and torch-fidelity."""

import numpy as np
import pytest
import scipy.linalg
import torch

from stylegan2.metrics.features import FeatureStatistics
from stylegan2.metrics.frechet import frechet_distance, gaussian_distance, square_root


def statistics(features):
    found = FeatureStatistics()
    found.add(features)
    return found


def covariance(dim, seed):
    a = torch.randn(dim, 2 * dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return a @ a.T / dim


def test_commuting_gaussians_have_a_closed_form():
    """For diagonal covariances it is the sum over axes of (difference of means)^2 + (difference of deviations)^2."""
    mean_a, mean_b = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, -1.0])
    std_a, std_b = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([3.0, 2.0, 0.0])
    found = gaussian_distance(mean_a, torch.diag(std_a**2), mean_b, torch.diag(std_b**2))
    assert found == pytest.approx(1 + 9 + 4 + 0.25, rel=1e-9)


def test_it_equals_the_formula_with_a_general_matrix_square_root():
    a, b = covariance(12, 1), covariance(12, 2)
    mean = torch.linspace(-1, 1, 12, dtype=torch.float64)
    root = scipy.linalg.sqrtm((a @ b).numpy())
    expected = float(mean.square().sum() + a.trace() + b.trace()) - 2 * np.trace(root).real
    assert gaussian_distance(mean, a, torch.zeros(12), b) == pytest.approx(expected, rel=1e-9)


def test_singular_covariances_are_no_problem():
    """Fewer samples than features, as on any small run: the exact value comes from the features' own span."""
    draw = torch.Generator().manual_seed(3)
    x, y = torch.randn(10, 300, generator=draw).double(), torch.randn(10, 300, generator=draw).double() + 0.2
    basis = torch.linalg.svd(torch.cat([x - x.mean(0), y - y.mean(0)]), full_matrices=False).Vh[:18]  # [18, D]
    inside = frechet_distance(statistics(x @ basis.T), statistics(y @ basis.T))
    outside = (x.mean(0) - y.mean(0)).square().sum() - (basis @ (x.mean(0) - y.mean(0))).square().sum()
    assert frechet_distance(statistics(x), statistics(y)) == pytest.approx(inside + float(outside), rel=1e-6)


def test_identical_sets_are_at_distance_0_and_it_is_symmetric():
    x = torch.randn(50, 20)
    y = torch.randn(60, 20) * 2
    assert frechet_distance(statistics(x), statistics(x.flip(0))) < 1e-9
    there, back = (frechet_distance(statistics(a), statistics(b)) for a, b in ((x, y), (y, x)))
    assert there == pytest.approx(back, rel=1e-9)
    assert there > 1


def test_square_root():
    a = covariance(8, 5)
    torch.testing.assert_close(square_root(a) @ square_root(a), a)


def test_it_equals_torch_fidelity_on_equal_features():
    metric = pytest.importorskip("torch_fidelity.metric_fid")
    x, y = torch.randn(400, 64), torch.randn(300, 64) @ torch.randn(64, 64) * 0.3 + 0.5
    theirs = [metric.fid_features_to_statistics(f) for f in (x, y)]
    expected = metric.fid_statistics_to_metric(*theirs, verbose=False)[metric.KEY_METRIC_FID]
    assert frechet_distance(statistics(x), statistics(y)) == pytest.approx(expected, rel=1e-3)
