"""Precision and recall of sets whose answer is known, and against torch-fidelity."""

import pytest
import torch

from stylegan2.metrics.precision_recall import precision_recall, squared_radii
from stylegan2.runtime.errors import UserError


def test_identical_sets():
    x = torch.randn(50, 8) + 100
    assert precision_recall(x, x[torch.randperm(50)], block=16) == (1.0, 1.0)


def test_sets_far_apart():
    assert precision_recall(torch.randn(30, 4), torch.randn(40, 4) + 1000) == (0.0, 0.0)


def test_a_collapsed_generator_is_precise_and_a_scattered_one_recalls():
    reals = torch.cat([torch.randn(40, 6), torch.randn(40, 6) + 50])  # two modes
    collapsed = torch.randn(80, 6)  # one of them
    precision, recall = precision_recall(reals, collapsed)
    assert precision > 0.8
    assert recall == pytest.approx(0.5, abs=0.1)
    assert precision_recall(collapsed, reals) == (recall, precision)


def test_radii_reach_the_third_of_the_other_points():
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0], [20.0]])
    assert squared_radii(x, k=3).tolist() == [49.0, 36.0, 16.0, 49.0, 361.0]
    assert squared_radii(x, k=1, block=2).tolist() == [1.0, 1.0, 4.0, 16.0, 169.0]


def test_a_point_on_the_edge_of_a_ball_counts():
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    fake = torch.tensor([[6.0], [6.5], [-3.1], [10.0]])  # the ball of 3 reaches 6, that of 0 reaches -3
    assert precision_recall(real, fake, k=3)[0] == 0.25


def test_too_few_images_are_refused():
    with pytest.raises(UserError, match="more than 3 images"):
        precision_recall(torch.zeros(3, 2), torch.zeros(9, 2))


def test_it_equals_torch_fidelity_on_equal_features():
    metric = pytest.importorskip("torch_fidelity.metric_prc")
    real, fake = torch.randn(300, 8), torch.randn(250, 8) * 0.7 + 0.5
    theirs = metric.prc_features_to_metric(
        fake, real, prc_neighborhood=3, prc_batch_size=100, save_cpu_ram=True, verbose=False
    )
    expected = theirs[metric.KEY_METRIC_PRECISION], theirs[metric.KEY_METRIC_RECALL]
    assert min(expected) > 0.1
    assert max(expected) < 0.98
    assert precision_recall(real, fake, block=64) == pytest.approx(expected, abs=1e-3)
