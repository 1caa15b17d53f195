"""The FIR filter against its definition: values, derivatives of any order, dtypes, layouts."""

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from stylegan2 import ops
from stylegan2.ops.fir import BINOMIAL_TAPS, Resampling, resample
from tests.stylegan2.ops.naive import resampled

# (taps, gain, up, down, (start y, start x), (H, W), (out H, out W))
CASES = [
    (ops.FIR_TAPS, 1.0, 1, 1, (1, 1), (5, 7), (4, 6)),  # blur
    (ops.FIR_TAPS, 4.0, 1, 1, (2, 2), (5, 4), (6, 5)),
    (ops.FIR_TAPS, 4.0, 2, 1, (2, 2), (3, 5), (6, 10)),  # upsample2x
    (ops.FIR_TAPS, 1.0, 1, 2, (1, 1), (7, 9), (3, 4)),  # downsample2x of odd sides
    (ops.FIR_TAPS, 1.0, 1, 2, (1, 1), (2, 2), (1, 1)),
    (ops.FIR_TAPS, 1.0, 1, 1, (3, 3), (1, 1), (4, 4)),
    (ops.FIR_TAPS, 2.0, 1, 1, (-1, 2), (6, 5), (2, 7)),  # cut off on one side, padded on the other
    (ops.FIR_TAPS, 2.0, 2, 1, (5, -2), (3, 6), (9, 4)),
    (ops.FIR_TAPS, 2.0, 1, 2, (3, 0), (5, 6), (6, 2)),
    (ops.FIR_TAPS, 1.0, 2, 2, (1, 2), (5, 6), (5, 6)),
    (BINOMIAL_TAPS, 1.0, 1, 1, (1, 1), (4, 3), (4, 3)),
    (BINOMIAL_TAPS, 4.0, 2, 1, (1, 1), (3, 2), (6, 4)),
    (BINOMIAL_TAPS, 1.0, 1, 2, (1, 0), (4, 5), (2, 2)),
]


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@torch.no_grad()
def test_values_of_the_filter_and_of_its_transpose(case, layout):
    *filtering, start, sides, size = case
    resampling = Resampling(*filtering, start, size)
    x = leaf(2, 3, *sides).contiguous(memory_format=layout)
    y = leaf(2, 3, *size).contiguous(memory_format=layout)
    found, transposed = resample(x, resampling), resample(y, resampling.transposed(sides))
    torch.testing.assert_close(found, resampled(x, *filtering, start, size))
    assert transposed.shape == x.shape
    torch.testing.assert_close((transposed * x).sum(), (found * y).sum())


@pytest.mark.parametrize("case", CASES[:6] + CASES[9:11])
def test_derivatives(case):
    *filtering, start, sides, size = case
    resampling = Resampling(*filtering, start, size)
    x = leaf(1, 2, *sides)
    assert torch.autograd.gradcheck(lambda x: resample(x, resampling), x)
    assert torch.autograd.gradgradcheck(lambda x: resample(x, resampling), x)


def test_third_derivative():
    x = leaf(1, 2, 4, 4)
    derivative = ops.blur(x, 2).pow(4).sum()
    expected = resampled(x, ops.FIR_TAPS, 1.0, 1, 1, (2, 2), (5, 5)).pow(4).sum()
    for _ in range(3):
        (derivative,) = torch.autograd.grad(derivative.sum(), x, create_graph=True)
        (expected,) = torch.autograd.grad(expected.sum(), x, create_graph=True)
    torch.testing.assert_close(derivative, expected)


def test_the_second_derivative_is_no_grouped_convolution_s():
    """PyTorch's own loops over the channels: seconds for what takes milliseconds."""
    x = torch.randn(1, 64, 8, 8, requires_grad=True)
    y = ops.downsample2x(ops.blur(ops.upsample2x(x), 2))
    (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with torch.profiler.profile() as profile:
        grad.square().sum().backward()
    calls = {event.key: event.count for event in profile.key_averages()}
    assert not [name for name in calls if "convolution_backward" in name or "ConvolutionBackward" in name]
    assert sum(calls.get(name, 0) for name in ("aten::conv2d", "aten::conv_transpose2d")) == 6


@pytest.mark.parametrize("gradients", [False, True])
def test_a_bias_is_added(gradients):
    x, bias = leaf(1, 2, 3, 3), leaf(2)
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(ops.blur(x, 1, 4.0, bias), ops.blur(x, 1, 4.0) + bias[:, None, None])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gradients", [False, True])
def test_autocast_leaves_the_dtype_alone(dtype, gradients):
    x = torch.randn(1, 2, 4, 4, dtype=dtype, requires_grad=gradients)
    with torch.autocast("cpu", torch.bfloat16):
        y = ops.upsample2x(ops.blur(x, 2))
    assert y.dtype == dtype
    torch.testing.assert_close(y, ops.upsample2x(ops.blur(x, 2)))
    if gradients:
        assert torch.autograd.grad(y.sum(), x)[0].dtype == dtype


@pytest.mark.parametrize("device", ["meta", "cpu", "cuda"])
def test_tensors_without_memory_have_the_shape(device):
    with FakeTensorMode():
        x = torch.empty(2, 3, 8, 8, device=device, requires_grad=True)
        y = ops.downsample2x(ops.upsample2x(ops.blur(x, 2)))
        assert y.shape == (2, 3, 9, 9)
        if device != "cuda":  # whose backward pass needs a GPU, even so
            assert torch.autograd.grad(y.sum(), x)[0].shape == x.shape


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("operator", [ops.blur, ops.upsample2x, ops.downsample2x])
def test_the_layout_stays(operator, layout):
    x = torch.randn(2, 3, 8, 8).contiguous(memory_format=layout)
    y = operator(x, 1) if operator is ops.blur else operator(x)
    assert y.is_contiguous(memory_format=layout)


def test_upsampling_keeps_a_constant_image():
    flat = torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64)
    torch.testing.assert_close(ops.upsample2x(flat)[:, :, 2:-2, 2:-2], torch.full((1, 1, 12, 12), 0.5).double())
    torch.testing.assert_close(ops.downsample2x(flat)[:, :, 1:-1, 1:-1], torch.full((1, 1, 2, 2), 0.5).double())
