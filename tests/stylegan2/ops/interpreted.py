"""The Triton kernels in Triton's interpreter, on a CPU: `test_kernels.py` runs this file with TRITON_INTERPRET=1."""

import pytest
import torch
from torch import Tensor

from stylegan2 import ops
from stylegan2.ops import fir, kernels
from stylegan2.ops.fir import Resampling
from tests.stylegan2.ops.naive import resampled
from tests.stylegan2.ops.test_fir import CASES

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}  # half an ulp


@pytest.fixture(autouse=True)
def _kernels_everywhere(monkeypatch):
    monkeypatch.setattr(fir, "kernels_for", lambda _: kernels)


def check(found: Tensor, expected: Tensor) -> None:
    tolerance = TOLERANCE[found.dtype]
    torch.testing.assert_close(found.double(), expected.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_filter_and_its_transpose(case):
    *filtering, start, sides, size = case
    resampling = Resampling(*filtering, start, size)
    back = resampling.transposed(sides)
    x, y = torch.randn(2, 1, *sides).double(), torch.randn(2, 1, *size).double()
    check(fir.resample(x, resampling), resampled(x, *resampling))
    check(fir.resample(y, back), resampled(y, *back))


@pytest.mark.parametrize(
    ("channels", "sides", "dtype"),
    [
        (3, (1, 1), torch.float32),
        (33, (3, 5), torch.float16),
        (8, (1, 70), torch.bfloat16),  # more than one block of columns
        (132, (2, 1), torch.float32),  # more than one block of channels
    ],
)
def test_filter_of_all_sizes(channels, sides, dtype):
    x = torch.randn(1, channels, *sides).to(dtype)
    for operator in (lambda x: ops.blur(x, 2), ops.upsample2x):
        check(operator(x), operator(x.double()))
    size = (sides[0] * 2 + 1, sides[1] * 2 + 1)
    down = Resampling(ops.FIR_TAPS, 1.0, 1, 2, (3, 3), size)
    check(fir.resample(x, down), resampled(x.double(), *down))


def test_a_single_block_of_rows_does_not_end_where_the_image_does():
    """33 rows: four programs and a fifth with one row."""
    x = torch.randn(1, 2, 33, 3, dtype=torch.float64)
    check(ops.blur(x, 1), resampled(x, ops.FIR_TAPS, 1.0, 1, 1, (1, 1), (32, 2)))
    check(ops.upsample2x(x), resampled(x, ops.FIR_TAPS, 4.0, 2, 1, (2, 2), (66, 6)))


def test_memory_outside_is_neither_read_nor_written():
    memory = torch.full((3, 4, 4, 6), float("nan"))  # [N, H, W, C]; the middle image is between two that are not ours
    memory[1] = torch.randn(4, 4, 6)
    before = memory.clone()
    x = memory[1:2].permute(0, 3, 1, 2)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert ops.blur(x, 2).isfinite().all()
    torch.testing.assert_close(memory, before, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("operator", [lambda x: ops.blur(x, 1), ops.upsample2x, ops.downsample2x])
def test_filters_derivatives(operator):
    x = torch.randn(1, 2, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(operator, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(operator, x, fast_mode=True)
