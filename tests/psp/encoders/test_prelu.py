"""PReLU with its own gradient: PyTorch's values, derivatives of two orders, and parameters."""

import pytest
import torch
from torch import nn

from psp.encoders.prelu import PReLU


@pytest.mark.parametrize("channels", [1, 3])
def test_values_and_derivatives_are_pytorch_s(channels):
    own, other = PReLU(channels).double(), nn.PReLU(channels).double()
    own.weight.data = torch.randn(channels, dtype=torch.float64)
    other.load_state_dict(own.state_dict())
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    x[0, :, 0, 0] = 0
    x.requires_grad_()
    weight = torch.randn(x.shape, dtype=torch.float64)
    found, expected = (torch.autograd.grad((layer(x) * weight).sum(), [x, layer.weight]) for layer in (own, other))
    torch.testing.assert_close(own(x), other(x))
    for one, right in zip(found, expected, strict=True):
        torch.testing.assert_close(one, right)
    with torch.no_grad():
        torch.testing.assert_close(own(x), other(x))
    x = (x + 0.1 * x.sign()).detach().requires_grad_()[1:]  # away from the kink
    assert torch.autograd.gradgradcheck(lambda x, w: torch.func.functional_call(own, {"weight": w}, x), (x, own.weight))
