"""Modulated convolution: first and second derivatives in float64, and what it is by definition."""

import pytest
import torch
from torch import Tensor

from stylegan2 import ops


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def modulated(x: Tensor, weight: Tensor, styles: Tensor, bias: Tensor, up: bool) -> Tensor:
    scale = ops.demodulation(weight, styles) * ops.LRELU_GAIN
    return ops.modulated_conv2d(x, weight, styles, scale, bias, upsample=up)


@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution_is_twice_differentiable(up):
    def convolution(*inputs: Tensor) -> Tensor:
        return ops.leaky_relu(ops.add_noise(modulated(*inputs, up), torch.full((1, 1), 0.1).double()))

    inputs = leaf(2, 2, 3, 3), leaf(2, 2, 3, 3), leaf(2, 2), leaf(2)
    assert torch.autograd.gradcheck(convolution, inputs)
    assert torch.autograd.gradgradcheck(convolution, inputs)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("samples", [1, 3])
def test_rendering_without_gradients_is_the_same_function(up, samples):
    """One sample gets a weight of its own, and activations overwrite their input: the numbers are those of training."""
    inputs = leaf(samples, 4, 6, 6), leaf(5, 4, 3, 3), leaf(samples, 4), leaf(5)
    noise = torch.randn(6 * (1 + up), 6 * (1 + up)).double()
    before = [tensor.detach().clone() for tensor in (*inputs, noise)]
    expected = ops.leaky_relu(ops.add_noise(modulated(*inputs, up), noise))
    with torch.no_grad():
        found = ops.leaky_relu(ops.add_noise(modulated(*inputs, up), noise))
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip((*inputs, noise), before, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("samples", [1, 2])
def test_modulation_is_a_weight_for_each_sample(samples):
    """StyleGAN2 eq. 1 and 3, written out."""
    x, weight, styles, bias = leaf(samples, 4, 6, 6), leaf(5, 4, 3, 3), leaf(samples, 4), leaf(5)
    found = modulated(x, weight, styles, bias, up=False)
    for n in range(samples):
        own = weight * styles[n][None, :, None, None]
        own = own / (own.square().sum([1, 2, 3], keepdim=True) + 1e-8).sqrt() * ops.LRELU_GAIN
        expected = torch.nn.functional.conv2d(x[n : n + 1], own, bias, padding=1)
        torch.testing.assert_close(found[n : n + 1], expected)


def test_demodulation_ignores_the_style_scale():
    """Section 2.2: after demodulation the output has unit deviation for unit inputs, whatever the style's scale."""
    weight, styles = leaf(4, 3, 3, 3), leaf(2, 3)
    factors = ops.demodulation(weight, styles)
    torch.testing.assert_close(ops.demodulation(weight, styles * 10) * 10, factors, rtol=1e-6, atol=1e-9)
