"""Attribution with a projector that finds the range of a linear generator exactly."""

import pytest
import torch

from stylegan2.metrics.attribution import area_under_roc, attribution, projection_distances, roc


def test_a_perfect_projector_tells_generated_from_real(toy, squared_distance):
    matrix = toy.matrix.double()

    def project(targets):
        w = torch.linalg.lstsq(matrix.T, targets.flatten(1).double().T).solution.T.float()  # [N, w_dim]
        return toy.synthesis(w[:, None])

    generated = toy.synthesis(toy.mapping(torch.randn(12, 16)))
    found = [
        projection_distances(images.split(5), project, squared_distance)
        for images in (generated, torch.randn(8, 3, 16, 16))
    ]
    assert [len(distances) for distances in found] == [12, 8]
    result = attribution(*found)
    assert result["auc"] == 1
    assert result["generated"] < 1e-6 < 1 < result["real"]


def test_equal_distances_tell_nothing():
    same = torch.tensor([1.0, 2.0, 2.0, 3.0])
    assert attribution(same, same)["auc"] == 0.5


def test_area_by_hand_and_under_the_curve():
    low, high = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2.0, 3.0])
    assert area_under_roc(low, high) == pytest.approx((1 + 0.5 + 0 + 1 + 1 + 0) / 6)
    x, y = torch.tensor(roc(low, high)).T
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert float(torch.trapezoid(y, x)) == pytest.approx(area_under_roc(low, high))
    assert (x.diff() >= 0).all()
    assert (y.diff() >= 0).all()
