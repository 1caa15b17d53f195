"""The operators: first and second derivatives in float64, and what resampling keeps."""

import pytest
import torch
from torch import Tensor

from stylegan2 import ops


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("operator", [ops.upsample2x, ops.downsample2x, lambda x: ops.blur(x, padding=2)])
def test_resampling_is_twice_differentiable(operator):
    assert torch.autograd.gradcheck(operator, leaf(1, 2, 4, 4))
    assert torch.autograd.gradgradcheck(operator, leaf(1, 2, 4, 4))


@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution_is_twice_differentiable(up):
    def convolution(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
        y = ops.modulated_conv2d(x, weight, styles, upsample=up)
        return ops.leaky_relu(y * ops.demodulation(weight, styles)[:, :, None, None] + 0.1)

    inputs = leaf(2, 2, 3, 3), leaf(2, 2, 3, 3), leaf(2, 2)
    assert torch.autograd.gradcheck(convolution, inputs)
    assert torch.autograd.gradgradcheck(convolution, inputs)


def test_demodulation_ignores_the_style_scale():
    """Section 2.2: after demodulation the output has unit deviation for unit inputs, whatever the style's scale."""
    weight, styles = leaf(4, 3, 3, 3), leaf(2, 3)
    factors = ops.demodulation(weight, styles)
    torch.testing.assert_close(ops.demodulation(weight, styles * 10) * 10, factors, rtol=1e-6, atol=1e-9)


def test_upsampling_keeps_a_constant_image():
    flat = torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64)
    torch.testing.assert_close(ops.upsample2x(flat)[:, :, 2:-2, 2:-2], torch.full((1, 1, 12, 12), 0.5).double())
    torch.testing.assert_close(ops.downsample2x(flat)[:, :, 1:-1, 1:-1], torch.full((1, 1, 2, 2), 0.5).double())
