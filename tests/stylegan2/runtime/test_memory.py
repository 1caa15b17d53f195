"""Memory that is not there is a sentence, not the end of the process."""

import os
import subprocess
import sys

import pytest
import torch

from stylegan2.runtime import memory
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.memory import check_batch, shortage, total_memory


@pytest.mark.parametrize("size", [(2**60,), (2**40, 2**40)])
def test_an_allocation_that_fails_is_recognised(size):
    with pytest.raises(RuntimeError) as caught:
        torch.empty(size)
    assert "use a smaller batch" in shortage(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "this machine has too little memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "this GPU has too little memory"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Bus error."), "use fewer workers"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None),
        (ValueError("out of memory"), None),
    ],
)
def test_only_what_means_memory_is_taken_for_it(error, words):
    assert (shortage(error) or "None").find(str(words)) >= 0


def test_a_batch_whose_images_alone_are_too_large(monkeypatch):
    monkeypatch.setattr(memory, "total_memory", lambda: 10**9)
    check_batch(1_000, 3, 256)
    with pytest.raises(UserError, match="batch_size is too large: 2,000 images of 256 px are 2 GB, and this machine"):
        check_batch(2_000, 3, 256)
    monkeypatch.setattr(memory, "total_memory", lambda: None)
    check_batch(10**12, 3, 256)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_what_the_machine_has_not_is_refused_at_once():
    assert total_memory() > 2**28
    code = "import torch; from stylegan2.runtime.memory import limit_memory, total_memory; limit_memory()\n"
    code += "x = torch.empty(total_memory() // 2, dtype=torch.uint8)\n"  # promised, and not used
    code += "try: y = torch.empty(int(total_memory() * 0.6), dtype=torch.uint8)\n"
    code += "except RuntimeError: print('refused')\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env={**os.environ})
    assert done.stdout == "refused\n", done.stderr
