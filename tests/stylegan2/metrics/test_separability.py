"""Linear separability of labels whose answer is known, and the SVM against an independent minimiser."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from stylegan2.metrics.separability import conditional_entropy, fit_linear_svm, most_confident, separability
from stylegan2.runtime.errors import UserError


def test_separable_labels_score_1():
    w = torch.randn(2000, 8)
    logits = torch.stack([w[:, 0], w @ torch.arange(8.0) + 1], dim=1)
    found = separability(w, logits, ["axis", "oblique"])
    assert found["score"] == pytest.approx(1, abs=1e-6)
    assert found["held_out"] == pytest.approx(1, abs=0.1)
    assert found["constant"] == []


def test_labels_independent_of_the_latents_score_exp_of_their_entropy():
    """Two attributes at 50 % and one at 20 %: H = ln 2 + ln 2 + H(0.2)."""
    w = torch.randn(20_000, 4)
    logits = torch.stack([torch.randn(20_000).sign() for _ in range(2)] + [(torch.rand(20_000) < 0.2) * 2.0 - 1], 1)
    entropy = 2 * math.log(2) - 0.2 * math.log(0.2) - 0.8 * math.log(0.8)
    found = separability(w, logits, ["a", "b", "c"])
    assert found["score"] == pytest.approx(math.exp(entropy), rel=0.01)
    assert found["held_out"] == pytest.approx(math.exp(entropy), rel=0.01)
    assert found["entropies"]["c"] == pytest.approx(0.5004, abs=0.02)


def test_few_samples_flatter_the_score_but_not_the_held_out_one():
    w, logits = torch.randn(100, 200), torch.randn(100, 1)
    found = separability(w, logits, ["noise"])
    assert found["score"] == pytest.approx(1, abs=1e-6)
    assert found["held_out"] > 1.8


def test_a_curved_boundary_is_not_linear():
    w = torch.randn(4000, 2)
    found = separability(w, (w.square().sum(1, keepdim=True) - 2), ["far"])
    assert found["score"] > 1.5


def test_only_confident_samples_count():
    assert most_confident(torch.tensor([0.1, -3.0, 2.0, -0.2])).tolist() == [1, 2]
    w = torch.randn(1000, 3)
    logits = w[:, :1].clone()
    doubtful = logits[:, 0].abs() < logits.abs().median()
    logits[doubtful] *= -1  # wrong, but among the half that is left out
    assert separability(w, logits, ["axis"])["score"] == pytest.approx(1, abs=1e-6)


def test_an_attribute_that_never_shows_is_named():
    found = separability(torch.randn(50, 3), -torch.rand(50, 1) - 1, ["hat"])
    assert found["constant"] == ["hat"]
    assert found["score"] == 1


def test_conditional_entropy_by_hand():
    y = torch.tensor([1, 1, 1, 0, 0, 0, 0, 0]).bool()
    x = torch.tensor([1, 1, 0, 1, 0, 0, 0, 0]).bool()
    by_hand = -(2 * math.log(2 / 3) + math.log(1 / 3) + math.log(1 / 5) + 4 * math.log(4 / 5)) / 8
    assert conditional_entropy(y, x) == pytest.approx(by_hand, rel=1e-12)
    assert conditional_entropy(y, y) == 0


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_the_svm_is_at_the_minimum(c):
    x = torch.randn(200, 5).double() * torch.tensor([1, 0.1, 10, 1, 1])
    y = (x[:, 0] + 0.5 * torch.randn(200)) > 0.3
    sign = np.where(y, 1.0, -1.0)

    def objective(w):
        slack = np.maximum(0, 1 - sign * (x.numpy() @ w[:-1] + w[-1]))
        return w @ w / 2 + c * slack @ slack

    weight, bias = fit_linear_svm(x, y, c)
    best = scipy.optimize.minimize(objective, np.zeros(6), method="BFGS", options={"gtol": 1e-8, "maxiter": 2000})
    ours = objective(np.append(weight, bias))
    assert ours <= best.fun * (1 + 1e-9)
    np.testing.assert_allclose(np.append(weight, bias), best.x, atol=1e-3)


def test_too_few_samples_are_refused():
    with pytest.raises(UserError, match="at least 8"):
        separability(torch.randn(7, 2), torch.randn(7, 1), ["a"])
