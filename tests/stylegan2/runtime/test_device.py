import subprocess
import sys

import pytest
import torch

from stylegan2.runtime.device import pick_device
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
