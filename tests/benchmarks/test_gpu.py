"""The benchmark for GPUs on a CPU at toy sizes: it stores its figures at once, and continues after a failure."""

import json

import pytest
import torch

from benchmarks import gpu, operators
from benchmarks.clock import milliseconds
from benchmarks.works import Work
from stylegan2 import ops
from stylegan2.runtime.errors import UserError
from tests.forks import PROGRAMS

CPU = torch.device("cpu")


def test_all_parts_are_measured_and_written(tmp_path):
    flags = ["--device", "cpu", "--seconds", "0.1", "--precisions", "bf16", "fp32", "--out", "out.json"]
    done = PROGRAMS.run([gpu.__file__, *flags], cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["machine"]["sizes"] == "toy"
    assert list(report["parts"]) == list(gpu.PARTS)
    for part, rows in report["parts"].items():
        assert rows, part
        assert all(value > 0 for row in rows for name, value in row.items() if name.endswith(("ms", "images/s")))
    assert {row["precision"] for row in report["parts"]["gan"]} == {"bf16", "fp32"}
    assert {(row["network"], row["batch"]) for row in report["parts"]["inference"]} == {
        (network, batch) for network in ("encoder", "generator") for batch in gpu.TOY.batches
    }
    assert "### filter" in done.stdout
    assert "Kernels of path length:" in done.stdout


def test_a_form_that_fails_leaves_the_figures_of_the_others(monkeypatch):
    def fail(seconds):
        raise RuntimeError("out of memory")

    works = [Work({"form": "a"}, fail), Work({"form": "b"}, lambda seconds: {"ms": 1.0})]
    monkeypatch.setitem(gpu.PARTS, "gan", lambda o, s, device: works)
    rows = []
    gpu.measure_part(gpu.Benchmark(), "gan", CPU, rows.append)
    assert rows == [{"form": "a", "failed": "RuntimeError: out of memory"}, {"form": "b", "ms": 1.0}]
    assert gpu.table(rows).splitlines()[2:] == ["| a | RuntimeError: out of memory |  |", "| b |  | 1 |"]


def test_the_plain_operators_are_ours():
    x = torch.randn(2, 5, 9, 12)
    torch.testing.assert_close(operators.depthwise(x, padding=2), ops.blur(x, padding=2))
    torch.testing.assert_close(operators.depthwise(x, stride=2), ops.downsample2x(x))
    torch.testing.assert_close(operators.depthwise_up(x), ops.upsample2x(x))


def test_the_first_calls_are_not_counted():
    calls = []
    took = milliseconds(lambda: calls.append(len(calls)), CPU, seconds=0.0)
    assert len(calls) == 5
    assert 0 < took < 100


def test_mistakes_are_told():
    with pytest.raises(UserError, match="no part 'huge'"):
        gpu.Benchmark(only=["huge"])
    with pytest.raises(UserError, match="no precision 'fp8'"):
        gpu.Benchmark(precisions=["fp8"])
    with pytest.raises(UserError, match="is not a folder"):
        gpu.Benchmark(nvidia=gpu.ROOT / "nowhere")
