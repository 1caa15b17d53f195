"""Where the kernels run, and what is said where they cannot."""

import subprocess
import sys
import warnings
from unittest import mock

import pytest
import torch
from torch._subclasses import FakeTensorMode

from stylegan2.ops import dispatch


@pytest.fixture
def _forgotten():
    dispatch._kernels.cache_clear()
    yield
    dispatch._kernels.cache_clear()


def test_not_on_a_cpu_and_not_without_memory():
    assert dispatch.kernels_for(torch.zeros(1)) is None
    assert dispatch.kernels_for(torch.zeros(1, device="meta")) is None
    with FakeTensorMode():
        assert dispatch.kernels_for(torch.zeros(1, device="cuda")) is None


@pytest.mark.usefixtures("_forgotten")
def test_without_triton_one_line_says_what_is_slower(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    for name in [name for name in sys.modules if name.startswith("stylegan2.ops.kernels")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("stylegan2.ops.kernels", raising=False)
    with pytest.warns(UserWarning, match="Triton is not installed: filters and activations on CUDA take") as found:
        assert dispatch._kernels(torch.device("cuda", 0)) is None
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dispatch._kernels(torch.device("cuda", 0)) is None


@pytest.mark.usefixtures("_forgotten")
@pytest.mark.parametrize(("capability", "there"), [((7, 0), False), ((7, 5), True), ((9, 0), True)])
def test_on_gpus_that_the_kernels_were_compiled_for(capability, there, monkeypatch):
    pytest.importorskip("triton", reason="Triton is not installed")
    tried = []
    monkeypatch.setattr("stylegan2.ops.kernels.try_out", tried.append)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert (dispatch._kernels(torch.device("cuda", 0)) is not None) == there
    assert tried == [torch.device("cuda", 0)] * there


@pytest.mark.usefixtures("_forgotten")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Failed to find C compiler. Please specify\nmore"), "Failed to find C compiler"),
        (subprocess.CalledProcessError(1, ["gcc"]), "returned non-zero exit status 1"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_without_a_compiler_one_line_says_what_is_slower(error, reason, monkeypatch):
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setattr("stylegan2.ops.kernels.try_out", mock.Mock(side_effect=error))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    with pytest.warns(UserWarning, match=f"cannot compile here .*{reason}.*: filters and activations") as found:
        assert dispatch._kernels(torch.device("cuda", 0)) is None
    assert len(found) == 1
    assert "\n" not in str(found[0].message)
