import torch

from psp.losses import build_losses
from psp.losses.delta_norm import DeltaNorm


def test_sum_over_the_rows_of_the_norms_of_their_deltas():
    w_plus, average = torch.randn(3, 5, 8), torch.randn(8)
    expected = [sum((w_plus[n, i] - w_plus[n, 0]).square().sum().sqrt() for i in range(1, 5)) for n in range(3)]
    torch.testing.assert_close(DeltaNorm()(w_plus, average), torch.stack(expected))


def test_deltas_are_those_of_the_encoder_where_the_average_differs_by_row():
    average, w = torch.randn(5, 8), torch.randn(2, 1, 8)
    assert DeltaNorm()(average + w, average).max() < 1e-5


def test_gradients_are_finite_where_all_deltas_are_zero():
    w_plus = torch.randn(2, 1, 8).repeat(1, 5, 1).requires_grad_(True)
    DeltaNorm()(w_plus, torch.zeros(8)).sum().backward()
    assert w_plus.grad.isfinite().all()


def test_it_is_found_by_name():
    losses = build_losses({"delta_norm": 2e-4})
    values = losses(w_plus=torch.randn(2, 5, 8), latent_avg=torch.zeros(5, 8))
    assert values["delta_norm"].shape == (2,)
