"""The figures and the report of the benchmark of 16-bit trainings, on a CPU."""

import json

import pytest
import torch
import torch.nn.functional as F

from benchmarks import precision


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_convolutions_sum_in_float32_and_round_once(dtype):
    x = torch.randn(2, 64, 8, 8, dtype=dtype, requires_grad=True)
    weight = torch.randn(5, 64, 3, 3, dtype=dtype, requires_grad=True)
    grad = torch.randn(2, 5, 8, 8, dtype=dtype)
    with precision.RoundedConvolutions():
        y = F.conv2d(x, weight, padding=1)
        found = torch.autograd.grad(y, (x, weight), grad)
    wide_x, wide_weight = (value.detach().float().requires_grad_() for value in (x, weight))
    wide = F.conv2d(wide_x, wide_weight, padding=1)
    expected = torch.autograd.grad(wide, (wide_x, wide_weight), grad.float())
    assert y.dtype == dtype
    assert torch.equal(y, wide.to(dtype))
    assert all(torch.equal(a, b.to(dtype)) for a, b in zip(found, expected, strict=True))


def test_convolutions_in_float32_stay_as_they_are():
    x, weight = torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3)
    with precision.RoundedConvolutions():
        assert torch.equal(F.conv2d(x, weight), torch.conv2d(x, weight))


def test_the_table_counts_what_lies_within_the_spread():
    text = precision.table({"fp32": [3.0, 1.0, 2.0], "fp16": [1.5, 0.5, 3.0]}, [0, 1, 2])
    assert "| fp32 | 3.0000 | 1.0000 | 2.0000 | 2.0000 |" in text
    assert text.endswith("2 of 3 trainings in fp16 lie within the spread of those in fp32.")


@pytest.mark.slow
def test_trainings_in_both_precisions(tmp_path):
    sizes = {"resolution": 32, "channel_base": 256, "channel_max": 8, "total_nimg": 16, "metrics_samples": 4}
    out = tmp_path / "found.json"
    precision.main(precision.Benchmark(**sizes, seeds=[3], exp_dir=tmp_path / "runs", out=out))
    found = json.loads(out.read_text())
    assert found["seeds"] == [3]
    assert set(found["distances"]) == {"fp32", "fp16"}
    (full,), (reduced,) = found["distances"].values()
    assert full > 0
    assert reduced == pytest.approx(full, rel=0.1)
    assert reduced != full  # another precision was used
