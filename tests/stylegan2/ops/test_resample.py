"""Pooling and interpolation to any size: PyTorch's values and gradients, also by their deterministic form."""

import pytest
import torch
import torch.nn.functional as F

from stylegan2 import ops


@pytest.fixture(params=[False, True], ids=["as PyTorch does it", "deterministic"])
def _form(request):
    torch.use_deterministic_algorithms(request.param)
    yield
    torch.use_deterministic_algorithms(False)


def assert_same(function, expected, x):
    """Values and gradients of two functions."""
    x.requires_grad_(True)
    y, wanted = function(x), expected(x)
    assert y.dtype == wanted.dtype
    torch.testing.assert_close(y, wanted)
    weights = torch.randn_like(wanted)
    (gradient,), (wanted,) = (torch.autograd.grad((out * weights).sum(), x) for out in (y, wanted))
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.usefixtures("_form")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("height", "width", "size"), [(16, 16, 4), (16, 32, 16), (16, 16, 7), (9, 12, 5), (2, 2, 7), (1, 1, 3)]
)
def test_areas_are_averaged_as_adaptive_pooling_does(height, width, size, dtype):
    x = torch.randn(2, 3, height, width).to(dtype)
    assert_same(lambda x: ops.area_downsample(x, size), lambda x: F.adaptive_avg_pool2d(x, size), x)


@pytest.mark.usefixtures("_form")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("side", "size"), [(4, (8, 8)), (5, (12, 7)), (1, (2, 2)), (3, (1, 6))])
def test_pixels_are_interpolated_with_corners_aligned(side, size, dtype):
    x = torch.randn(2, 3, side, side + 1).to(dtype)
    assert_same(
        lambda x: ops.bilinear_upsample(x, *size),
        lambda x: F.interpolate(x, size, mode="bilinear", align_corners=True),
        x,
    )


@pytest.mark.usefixtures("_form")
def test_16_bit_numbers_are_rounded_once():
    x = torch.randn(1, 3, 16, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        larger, smaller = ops.bilinear_upsample(x, 32, 32), ops.area_downsample(x, 7)
    assert (larger.dtype, smaller.dtype) == (torch.bfloat16, torch.bfloat16)
    wanted = F.interpolate(x.double(), (32, 32), mode="bilinear", align_corners=True)
    torch.testing.assert_close(larger.double(), wanted, rtol=2**-8, atol=1e-6)
    torch.testing.assert_close(smaller.double(), F.adaptive_avg_pool2d(x.double(), 7), rtol=2**-8, atol=1e-6)


def test_no_deterministic_form_has_another_operator_than_products():
    """What PyTorch refuses on CUDA where deterministic algorithms are asked for."""
    torch.use_deterministic_algorithms(True)
    try:
        x = torch.randn(1, 2, 5, 5, requires_grad=True)
        with torch.profiler.profile() as profile:
            (ops.area_downsample(x, 3).sum() + ops.bilinear_upsample(x, 9, 9).sum()).backward()
    finally:
        torch.use_deterministic_algorithms(False)
    names = {event.key for event in profile.key_averages()}
    assert {name for name in names if "pool" in name or "upsample" in name} == set()
    assert "aten::bmm" in names or "aten::mm" in names
