"""Convolutions of few pixels as products of matrices: PyTorch's values, and derivatives of the first two orders."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.ops import columns
from stylegan2.ops.columns import columns_pay, weight_gradient_pays
from stylegan2.ops.convolution import conv2d, conv_transpose2d

CHANNELS_LAST = torch.channels_last


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(shape, dtype=dtype)
    return x.contiguous(memory_format=CHANNELS_LAST) if len(shape) == 4 else x


@pytest.fixture
def _always(monkeypatch):
    """Every convolution that is not transposed is computed so, in float64 too, which oneDNN lacks."""
    monkeypatch.setattr("stylegan2.ops.convolution.columns_pay", lambda *_, **__: True)
    monkeypatch.setattr("stylegan2.ops.convolution._is_trained", lambda *_: torch.is_grad_enabled())
    monkeypatch.setattr(columns, "_linear", F.linear)


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("sides", [(5, 4), (2, 2), (1, 7)])
@pytest.mark.parametrize(("stride", "padding", "kernel"), [(2, 1, 3), (1, 1, 3), ((2, 1), (0, 1), 1), (3, 2, 4)])
def test_values_and_derivatives(sides, stride, padding, kernel):
    leaves = drawn(2, 2, *sides), drawn(3, 2, kernel, kernel), drawn(3)
    leaves = [leaf.double().requires_grad_() for leaf in leaves]
    found, expected = conv2d(*leaves, stride, padding), F.conv2d(*leaves, stride, padding)
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        torch.testing.assert_close(conv2d(*leaves, stride, padding), expected)
    weight = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), leaves),
        torch.autograd.grad((expected * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    assert torch.autograd.gradgradcheck(lambda *inputs: conv2d(*inputs, stride, padding), leaves)


@pytest.mark.parametrize("piece", [1, 7, 20, 45, 10**6])  # from one row of an image to all images at once
@pytest.mark.parametrize(("stride", "padding", "kernel"), [(2, 0, 3), (1, 1, 3), (2, 1, 4)])
@pytest.mark.parametrize(("ours", "theirs"), [(conv2d, F.conv2d), (conv_transpose2d, F.conv_transpose2d)])
def test_the_gradient_of_the_weights_in_pieces(ours, theirs, stride, padding, kernel, piece, monkeypatch):
    monkeypatch.setattr("stylegan2.ops.convolution.weight_gradient_pays", lambda *_: True)
    monkeypatch.setattr("stylegan2.ops.convolution._is_trained", lambda *_: torch.is_grad_enabled())
    monkeypatch.setattr(columns, "_linear", F.linear)
    monkeypatch.setattr(columns, "PIECE", piece)
    sizes = (5, 2, 9, 6), (3, 2, kernel, kernel) if ours is conv2d else (2, 3, kernel, kernel), (3,)
    leaves = [drawn(*size, dtype=torch.float64).requires_grad_() for size in sizes]
    found, expected = (call(*leaves, stride=stride, padding=padding) for call in (ours, theirs))
    grad = torch.randn_like(expected)
    first, exact = (torch.autograd.grad(y, leaves, grad, create_graph=True) for y in (found, expected))
    for one, other in zip((found, *first), (expected, *exact), strict=True):
        torch.testing.assert_close(one, other)
    # The second derivative, as in R1: through the gradient of the input.
    second = [torch.autograd.grad(gradients[0].square().sum(), leaves[1])[0] for gradients in (first, exact)]
    torch.testing.assert_close(*second)


@pytest.mark.usefixtures("_always")
def test_the_result_may_be_overwritten():
    x, weight = (drawn(*shape, dtype=torch.float64).requires_grad_() for shape in ((2, 2, 5, 4), (3, 2, 3, 3)))
    found, expected = (
        torch.autograd.grad(F.leaky_relu(call(x, weight, None, 2, 1), 0.2, inplace=True).square().sum(), [x, weight])
        for call in (conv2d, F.conv2d)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.skipif(not columns.has_linear(), reason="this PyTorch has no oneDNN")
def test_by_onednn():
    """As it is computed where it pays, with the strides of the parameters."""
    x, weight, bias, grad = drawn(2, 256, 7, 8), drawn(256, 256, 3, 3), drawn(256), drawn(2, 256, 4, 4)
    settings = (2, 2), (1, 1)
    y = columns.convolve_columns(x, weight, bias, *settings)
    torch.testing.assert_close(y, F.conv2d(x, weight, bias, *settings), rtol=1e-4, atol=1e-3)
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, *settings, (1, 1), False, (0, 0), 1, (True, True, False)
    )
    found = columns.input_gradient(grad, x, weight, *settings), columns.weight_gradient(grad, x, weight, *settings)
    for one, other in zip(found, (of_x, of_weight), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
        assert one.is_contiguous(memory_format=CHANNELS_LAST)
    assert y.is_contiguous(memory_format=CHANNELS_LAST)


@pytest.mark.parametrize(
    ("isa", "shape", "side", "stride", "expected"),
    [
        ("AVX512", (512, 512, 3, 3), 32, 2, (True, True)),
        ("AVX2", (512, 512, 3, 3), 32, 2, (False, True)),
        ("DEFAULT", (512, 512, 3, 3), 32, 2, (False, False)),
        ("AVX512", (512, 512, 3, 3), 128, 2, (False, False)),
        ("AVX512", (512, 512, 3, 3), 16, 1, (True, True)),
        ("AVX512", (512, 513, 3, 3), 32, 1, (False, True)),
        ("AVX2", (512, 512, 3, 3), 16, 1, (False, True)),
        ("AVX512", (512, 512, 3, 3), 64, 1, (False, False)),
        ("AVX512", (512, 256, 3, 3), 16, 1, (False, False)),
        ("AVX512", (512, 512, 1, 1), 32, 2, (False, False)),
        ("AVX512", (128, 512, 3, 3), 32, 2, (False, False)),
    ],
)
def test_where_columns_pay(isa, shape, side, stride, expected, monkeypatch):
    monkeypatch.setattr(columns, "ISA", isa)
    monkeypatch.setattr(columns, "has_linear", lambda: True)
    x, weight = torch.empty(1, shape[1], side, side), torch.empty(shape, memory_format=CHANNELS_LAST)
    found = tuple(columns_pay(x, weight, (stride,) * 2, (1, 1), gradients=gradients) for gradients in (False, True))
    assert found == expected
    assert not columns_pay(x.to("meta"), weight.to("meta"), (stride,) * 2, (1, 1), gradients=True)


@pytest.mark.parametrize(
    ("isa", "shape", "side", "stride", "expected"),
    [
        ("AVX512", (64, 64, 3, 3), 32, 2, True),
        ("AVX2", (64, 128, 3, 3), 4, 2, True),
        ("DEFAULT", (512, 512, 3, 3), 64, 2, False),
        ("AVX512", (32, 64, 3, 3), 64, 2, False),
        ("AVX512", (512, 512, 3, 3), 16, 1, True),
        ("AVX2", (512, 512, 3, 3), 16, 1, False),
        ("AVX512", (256, 256, 3, 3), 64, 1, True),
        ("AVX512", (256, 256, 3, 3), 32, 1, False),
        ("AVX512", (128, 128, 3, 3), 64, 1, False),
        ("AVX512", (512, 512, 1, 1), 64, 1, False),
    ],
)
def test_where_the_gradient_of_the_weights_pays(isa, shape, side, stride, expected, monkeypatch):
    monkeypatch.setattr(columns, "ISA", isa)
    monkeypatch.setattr(columns, "has_linear", lambda: True)
    x, weight = torch.empty(1, shape[1], side, side), torch.empty(shape, memory_format=CHANNELS_LAST)
    assert weight_gradient_pays(x, weight, (stride, stride)) == expected
    for others in ((x.to("meta"), weight.to("meta")), (x, weight.double()), (x, weight.contiguous()), (x[:0], weight)):
        assert not weight_gradient_pays(*others, (stride, stride))
