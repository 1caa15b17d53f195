import numpy as np
import pytest
import torch
from torch import Tensor

from stylegan2 import losses


def naive_log_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.log(1 / (1 + np.exp(-x)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logistic_losses_are_the_log_likelihoods(dtype):
    fake, real = torch.linspace(-20, 20, 41, dtype=dtype)[:, None], torch.randn(41, 1, dtype=dtype) * 5
    f, r = fake.double().numpy()[:, 0], real.double().numpy()[:, 0]
    expected_g = -naive_log_sigmoid(f)
    expected_d = -naive_log_sigmoid(-f) - naive_log_sigmoid(r)  # 1 - sigmoid(x) = sigmoid(-x)
    np.testing.assert_allclose(losses.logistic_g(fake).numpy(), expected_g, rtol=1e-5)
    np.testing.assert_allclose(losses.logistic_d(fake, real).numpy(), expected_d, rtol=1e-5)


def test_logistic_losses_do_not_overflow():
    logits = torch.tensor([[-1e4], [1e4]])
    assert losses.logistic_g(logits).tolist() == [1e4, 0.0]
    assert losses.logistic_d(logits, logits.flip(0)).tolist() == [0.0, 2e4]


def quadratic(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """D(x) = sum a x^2 / 2 + b x, whose gradient is a x + b. [N, C, H, W] -> [N, 1]."""
    return (a * x.square() / 2 + b * x).sum([1, 2, 3])[:, None]


def test_r1_is_the_squared_gradient_norm_of_each_sample():
    a, b = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True), torch.randn(3, 4, 4, dtype=torch.float64)
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    penalty = losses.r1(quadratic(x, a, b), x)
    gradient = a * x + b
    torch.testing.assert_close(penalty, gradient.square().sum([1, 2, 3]))

    # Training needs the gradient of the penalty with respect to the weights: d/da |a x + b|^2 = 2 (a x + b) x.
    (weight_gradient,) = torch.autograd.grad(penalty.sum(), a)
    torch.testing.assert_close(weight_gradient, (2 * gradient * x).sum(0))


def linear_generator(jacobian: Tensor, ws: Tensor) -> Tensor:
    """images = sum over layers of J_l w_l: J [L, K, C, H, W], ws [N, L, K] -> [N, C, H, W]."""
    return torch.einsum("lkchw,nlk->nchw", jacobian, ws)


def test_path_lengths_of_a_linear_map_by_its_jacobian():
    jacobian = torch.randn(3, 5, 2, 4, 4, dtype=torch.float64)
    ws = torch.randn(6, 3, 5, dtype=torch.float64, requires_grad=True)
    images = linear_generator(jacobian, ws)
    torch.manual_seed(5)
    lengths = losses.path_lengths(images, ws)
    torch.manual_seed(5)
    y = torch.randn_like(images) / 4  # sqrt(4 * 4)
    for n in range(6):
        products = [jacobian[layer].flatten(1) @ y[n].flatten() for layer in range(3)]  # J_l^T y, each [K]
        expected = sum(float(p @ p) for p in products) / 3
        assert lengths[n].item() == pytest.approx(expected**0.5, rel=1e-12)


def test_path_lengths_estimate_the_jacobians_norm():
    """E_y |J^T y|^2 = |J|_F^2 / pixels, averaged over layers: the identity on which eq. 4 rests."""
    jacobian = torch.randn(2, 3, 1, 4, 4, dtype=torch.float64)
    ws = torch.zeros(20_000, 2, 3, dtype=torch.float64, requires_grad=True)
    lengths = losses.path_lengths(linear_generator(jacobian, ws), ws)
    expected = jacobian.square().sum([1, 2, 3, 4]).mean() / 16
    assert lengths.square().mean().item() == pytest.approx(expected.item(), rel=0.03)


def test_path_lengths_can_be_differentiated_again():
    jacobian = torch.randn(2, 3, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    ws = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)

    def penalty(j: Tensor) -> Tensor:
        torch.manual_seed(1)  # the same y for every finite difference
        return losses.path_lengths(linear_generator(j, ws), ws)

    assert torch.autograd.gradcheck(penalty, jacobian)


def test_wgan_losses_are_differences():
    fake, real = torch.tensor([[1.0], [-2.0]]), torch.tensor([[4.0], [0.5]])
    assert losses.wgan_g(fake).tolist() == [-1.0, 2.0]
    assert losses.wgan_d(fake, real).tolist() == [-3.0, -2.5]
    assert losses.drift(real).tolist() == [16.0, 0.25]


def test_gradient_penalty_is_the_analytic_one():
    """For D(x) = sum a x^2 / 2 + b x the gradient at a point between real and fake is a x + b."""
    a, b = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True), torch.randn(3, 4, 4, dtype=torch.float64)
    real, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64).unbind(0)
    torch.manual_seed(3)
    between = losses.interpolate(fake, real)
    penalty = losses.gradient_penalty(quadratic(between, a, b), between)
    torch.manual_seed(3)
    u = torch.rand(5, 1, 1, 1, dtype=torch.float64)
    assert u.std() > 0.1  # each sample has its own point
    gradient = a * (u * real + (1 - u) * fake) + b
    expected = (gradient.square().sum([1, 2, 3]).sqrt() - 1) ** 2
    torch.testing.assert_close(penalty, expected)

    # Training needs its gradient with respect to the weights.
    (found,) = torch.autograd.grad(penalty.sum(), a)
    (wanted,) = torch.autograd.grad(expected.sum(), a)
    torch.testing.assert_close(found, wanted)
    assert penalty.shape == (5,)


def test_gradient_penalty_of_a_critic_of_slope_one_is_zero():
    direction = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    direction /= direction.norm()
    real, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64).unbind(0)
    between = losses.interpolate(fake, real)
    for slope, expected in ((1.0, 0.0), (3.0, 4.0)):
        logits = (slope * direction * between).sum([1, 2, 3])[:, None]
        penalty = losses.gradient_penalty(logits, between)
        torch.testing.assert_close(penalty, torch.full((5,), expected, dtype=torch.float64))


def test_gradient_penalty_of_a_flat_critic_is_finite():
    weight = torch.zeros(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    real, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64).unbind(0)
    between = losses.interpolate(fake, real)
    penalty = losses.gradient_penalty((weight * between).sum([1, 2, 3])[:, None], between)
    penalty.sum().backward()
    assert penalty.tolist() == [1.0] * 5
    assert weight.grad.isfinite().all()


def test_hinge_losses_are_averaged_over_an_images_logits():
    fake, real = torch.tensor([[-2.0, 0.5], [0.0, -1.0]]), torch.tensor([[2.0, 0.5], [-1.0, 1.0]])
    assert losses.hinge_d(fake, real).tolist() == [(0 + 1.5 + 0 + 0.5) / 2, (1 + 0 + 2 + 0) / 2]
    assert losses.hinge_g(fake).tolist() == [0.75, 0.5]


@pytest.mark.parametrize("name", ["logistic", "wgan", "hinge"])
def test_every_loss_takes_several_logits_an_image(name):
    fake, real = torch.randn(5, 3), torch.randn(5, 3)
    loss_d, loss_g = getattr(losses, f"{name}_d"), getattr(losses, f"{name}_g")
    columns = [loss_d(fake[:, k : k + 1], real[:, k : k + 1]) for k in range(3)]
    torch.testing.assert_close(loss_d(fake, real), torch.stack(columns).mean(0))
    torch.testing.assert_close(loss_g(fake), torch.stack([loss_g(fake[:, k : k + 1]) for k in range(3)]).mean(0))
