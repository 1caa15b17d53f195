import subprocess
import sys

import pytest
import torch

from stylegan2.runtime.device import pick_device, set_precision_flags
from stylegan2.runtime.errors import UserError


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_best_there_is(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto") == torch.device(expected)


def test_a_numbered_device_is_kept(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    assert pick_device("cpu:0") == torch.device("cpu", 0)
    for name in ("cuda:2", "cuda:", "cuda:-1", "cuda:1:1", "cpu:abc", "cpu:1", "cpu:9999999999", "cuda:\u0661"):
        with pytest.raises(
            UserError, match=f"device '{name}' does not exist: the number of {name.partition(':')[0]} devices is [12]"
        ):
            pick_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "tpu", ""])
def test_a_device_that_is_not_there_is_refused(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=f"device '{name}' is not available here: use auto or one of .*cpu"):
        pick_device(name)


@pytest.mark.slow
def test_tuning_flushes_denormals_and_changes_no_result():
    code = """
import torch
from stylegan2.runtime.device import tune_process
x = torch.linspace(-1, 1, 10_000)
before = x.exp().sum()
tune_process()
assert torch.equal(x.exp().sum(), before)
assert (torch.tensor([1e-38]) * 1e-3).item() == 0.0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's allocator is tuned")
def test_tuning_keeps_all_freed_memory():
    """Also more than 2 GB: it is used again without being mapped anew, page by page."""
    code = """
import resource, torch
from stylegan2.runtime.device import tune_process
tune_process()
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.zeros(2**25) for _ in range(18)]  # 2.4 GB
    del tensors
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
assert min(faults[1:]) < 0.1 * faults[0], faults
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _flags():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(
    ("precision", "device", "dtype", "tf32"),
    [
        ("auto", CUDA, torch.float16, True),
        ("auto", CPU, torch.float32, False),
        ("fp32", CUDA, torch.float32, False),
        ("tf32", CUDA, torch.float32, True),
        ("bf16", CUDA, torch.bfloat16, True),
        ("fp16", CPU, torch.float16, True),
    ],
)
def test_type_and_flags(precision, device, dtype, tf32):
    for before in (True, False):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = before
        assert set_precision_flags(precision, device, auto="fp16") == dtype
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == tf32


def test_who_asks_for_16_bits_on_a_cpu_is_told(capsys):
    set_precision_flags("bf16", CPU, auto="fp16")
    assert capsys.readouterr().out == "bf16 is slower than fp32 on most processors\n"


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="there is no precision 'half': choose one of auto, fp32, tf32, bf16, fp16"):
        set_precision_flags("half", CUDA, auto="fp16")
