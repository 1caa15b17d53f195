"""The plain form of what follows a convolution: values, derivatives, memory."""

import pytest
import torch
from torch import Tensor

from stylegan2 import ops
from tests.stylegan2.ops import naive

SHAPES = {"x": (2, 3, 4, 5), "scale": (2, 3), "noise": (4, 5), "bias": (3,)}


def inputs(names: str) -> dict[str, Tensor]:
    return {name: torch.randn(SHAPES[name]).double().requires_grad_() for name in ["x", *names.split()]}


@pytest.mark.parametrize("names", ["", "bias", "noise", "scale", "scale bias", "scale noise bias"])
@pytest.mark.parametrize(("activate", "clamp"), [(True, None), (True, 1.0), (False, 1.0), (False, None)])
def test_values_and_derivatives(names, activate, clamp):
    given = inputs(names)

    def operator(x: Tensor, *values: Tensor) -> Tensor:
        rest = dict(zip(list(given)[1:], values, strict=True))
        return ops.epilogue(x * 1.0, **rest, activate=activate, clamp=clamp)  # a leaf could not be overwritten

    torch.testing.assert_close(operator(*given.values()), naive.epilogue(**given, activate=activate, clamp=clamp))
    assert torch.autograd.gradcheck(operator, tuple(given.values()), fast_mode=True)
    assert torch.autograd.gradgradcheck(operator, tuple(given.values()), fast_mode=True)


@torch.no_grad()
def test_without_gradients_x_is_overwritten():
    x, noise = torch.randn(1, 2, 3, 3), torch.randn(3, 3)
    expected = naive.epilogue(x, noise=noise, clamp=1.0)
    found = ops.epilogue(x, noise=noise, clamp=1.0)
    torch.testing.assert_close(found, expected)
    assert found.data_ptr() == x.data_ptr()


def test_a_training_keeps_one_feature_map_of_a_layer():
    """Not the result of the convolution and that of the activation."""
    x, weight, noise = torch.randn(1, 3, 4, 4), torch.randn(3, 3, 3, 3, requires_grad=True), torch.randn(4, 4)
    result = ops.conv2d(x, weight, padding=1)
    found = ops.epilogue(result, noise=noise)
    assert found.data_ptr() == result.data_ptr()
    found.sum().backward()
    expected = weight.detach().clone().requires_grad_()
    naive.epilogue(torch.nn.functional.conv2d(x, expected, padding=1), noise=noise).sum().backward()
    torch.testing.assert_close(weight.grad, expected.grad)


def test_the_convolution_adds_the_bias_where_that_costs_nothing():
    x, bias = torch.zeros(1, 2, 3, 3, dtype=torch.bfloat16), torch.ones(2)
    inner, outer = ops.place_bias(x, bias)
    assert inner is not None
    assert (inner.dtype, outer) == (x.dtype, None)
    assert ops.place_bias(x, None) == (None, None)
