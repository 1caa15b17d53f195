"""The kernel distance against its definition, its expectation and torch-fidelity."""

import pytest
import torch

from stylegan2.metrics.kernel_distance import kernel_distance, unbiased_mmd2
from stylegan2.runtime.errors import UserError


def test_it_is_its_definition_pair_by_pair():
    x, y = torch.randn(5, 4).double(), torch.randn(7, 4).double() + 1

    def k(a, b):
        return float((a @ b / 4 + 1) ** 3)

    within_x = sum(k(x[i], x[j]) for i in range(5) for j in range(5) if i != j) / 20
    within_y = sum(k(y[i], y[j]) for i in range(7) for j in range(7) if i != j) / 42
    between = sum(k(a, b) for a in x for b in y) / 35
    assert float(unbiased_mmd2(x, y)) == pytest.approx(within_x + within_y - 2 * between, rel=1e-9)


def test_it_is_0_in_expectation_for_equal_distributions_and_not_for_others():
    """The mean of 400 independent estimates lies within 4 of its standard errors around 0; a biased one would not."""
    x, y = torch.randn(400, 20, 8), torch.randn(400, 20, 8)
    estimates = torch.stack([unbiased_mmd2(a.double(), b.double()) for a, b in zip(x, y, strict=True)])
    error = estimates.std() / 400**0.5
    assert abs(estimates.mean()) < 4 * error
    biased = 2 * ((torch.ones(8) @ torch.ones(8) / 8 + 1) ** 3 - 1) / 20  # what the diagonals would add
    assert biased > 8 * error
    assert kernel_distance(x[0], x[1] + 0.5)[0] > 0.1


def test_subsets_are_drawn_from_the_seed():
    x, y = torch.randn(100, 6), torch.randn(120, 6)
    first = kernel_distance(x, y, subsets=5, subset_size=30, seed=1)
    assert first == kernel_distance(x, y, subsets=5, subset_size=30, seed=1)
    assert first != kernel_distance(x, y, subsets=5, subset_size=30, seed=2)
    assert first[1] > 0
    assert kernel_distance(x, y[:100], subsets=3)[1] == pytest.approx(0, abs=1e-12)  # every subset is the whole


def test_a_single_image_is_refused():
    with pytest.raises(UserError, match="at least 2 images"):
        kernel_distance(torch.zeros(1, 3), torch.zeros(5, 3))


def test_it_equals_torch_fidelity_on_equal_features():
    metric = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = torch.randn(200, 32), torch.randn(200, 32) * 1.2 + 0.1
    theirs = metric.kid_features_to_metric(
        x.double(), y.double(), kid_subsets=1, kid_subset_size=200, verbose=False, rng_seed=0
    )
    assert kernel_distance(x, y, subsets=1)[0] == pytest.approx(theirs[metric.KEY_METRIC_KID_MEAN], rel=1e-3)
