"""Convolutions in their fastest form on a CPU: PyTorch's values and derivatives, and no product that nobody wants."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan2.ops import convolution
from stylegan2.ops.convolution import Conv2d, conv2d, conv_transpose2d, conv_transpose2d_by_phases

# stride, padding, kernel
SHAPES = [(1, 1, 3), (2, 0, 3), (2, 1, 3), (1, 0, 1)]


@pytest.fixture
def _always(monkeypatch):
    """The copies are made for every shape and type."""
    monkeypatch.setattr(convolution, "copies_pay", lambda *_, **__: True)
    monkeypatch.setattr(convolution, "_is_trained", lambda *_: torch.is_grad_enabled())


def leaf(*shape: int) -> Tensor:
    x = torch.randn(*shape, dtype=torch.float64)
    return (x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x).requires_grad_()


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize(("stride", "padding", "kernel"), SHAPES)
@pytest.mark.parametrize(("ours", "theirs"), [(conv2d, F.conv2d), (conv_transpose2d, F.conv_transpose2d)])
def test_values_and_derivatives(ours, theirs, stride, padding, kernel):
    x, weight, bias = leaf(2, 2, 5, 4), leaf(2, 2, kernel, kernel), leaf(2)
    settings = {"stride": stride, "padding": padding}
    torch.testing.assert_close(ours(x, weight, bias, **settings), theirs(x, weight, bias, **settings))
    assert torch.autograd.gradcheck(lambda *inputs: ours(*inputs, **settings), (x, weight, bias))
    assert torch.autograd.gradgradcheck(lambda *inputs: ours(*inputs, **settings), (x, weight, bias))


def products(work) -> list[str]:
    """The gradients of a convolution that are computed: "input", "weight" or both."""
    with torch.profiler.profile(record_shapes=True) as profile:
        work()
    masks = [event.concrete_inputs[-1] for event in profile.events() if event.name == "aten::convolution_backward"]
    return ["input" * mask[0] + "weight" * mask[1] for mask in masks]


@pytest.mark.usefixtures("_always")
def test_r1_computes_no_gradient_of_the_weights_on_its_way():
    """Mescheder 2018, eq. 9: the first derivative is the image's alone."""
    x, weight = leaf(2, 2, 5, 5), leaf(2, 2, 3, 3)
    y = conv2d(torch.tanh(conv2d(x, weight, padding=1)), weight)
    found = []
    assert products(lambda: found.extend(torch.autograd.grad(y.sum(), x, create_graph=True))) == ["input", "input"]
    found[0].square().sum().backward()
    exact = weight.detach().clone().requires_grad_()
    (grad,) = torch.autograd.grad(
        F.conv2d(torch.tanh(F.conv2d(x, exact, padding=1)), exact).sum(), x, create_graph=True
    )
    torch.testing.assert_close(weight.grad, torch.autograd.grad(grad.square().sum(), exact)[0])


@pytest.mark.parametrize(
    ("isa", "shape", "pixels", "stride", "transposed", "expected"),
    [
        ("AVX2", (64, 64, 3, 3), 256**2, 1, False, True),
        ("AVX2", (32, 64, 3, 3), 256**2, 1, False, False),
        ("AVX2", (512, 512, 1, 1), 64**2, 1, False, False),
        ("AVX2", (128, 128, 3, 3), 33**2, 2, False, False),
        ("AVX512", (64, 64, 3, 3), 256**2, 1, False, False),
        ("AVX512", (256, 256, 3, 3), 64**2, 1, False, True),
        ("AVX512", (512, 512, 3, 3), 64**2, 2, False, True),
        ("AVX512", (512, 512, 3, 3), 32**2, 2, False, False),
        ("AVX512", (128, 64, 3, 3), 128**2, 2, True, True),
        ("DEFAULT", (512, 512, 3, 3), 64**2, 1, True, False),
    ],
)
def test_where_copies_pay(isa, shape, pixels, stride, transposed, expected, monkeypatch):
    monkeypatch.setattr(convolution, "ISA", isa)
    found = convolution.copies_pay(torch.empty(shape, device="meta"), pixels, (stride, stride), transposed)
    assert found == expected


@torch.no_grad()
@pytest.mark.parametrize("sides", [(1, 1), (4, 5)])
def test_four_phases_are_a_transposed_convolution(sides):
    x, weight = leaf(2, 3, *sides), leaf(4, 3, 3, 3)
    expected = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    found = conv_transpose2d_by_phases(x, weight)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("settings", [{"stride": 2, "padding": 1}, {"padding": "same"}, {"groups": 2}, {"dilation": 2}])
def test_the_layer_is_pytorch_s(settings):
    layer = Conv2d(4, 6, 3, **settings).double()
    other = nn.Conv2d(4, 6, 3, **settings).double()
    other.load_state_dict(layer.state_dict())
    x = leaf(2, 4, 7, 7)
    torch.testing.assert_close(layer(x), other(x))
    grads = [torch.autograd.grad(one(x).square().sum(), [x, *one.parameters()]) for one in (layer, other)]
    for found, expected in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected)
