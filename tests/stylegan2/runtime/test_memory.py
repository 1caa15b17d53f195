"""Memory that is not there is a sentence, not the end of the process."""

import os
import re
import subprocess
import sys

import pytest
import torch

from psp.training_state import smaller_parts
from stylegan2.runtime import memory
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.memory import advising, check_batch, shortage, total_memory
from stylegan2.training_state import number_of_rounds, smaller_rounds


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
    sentence = shortage(error)
    if words is None:
        assert sentence is None
    else:
        assert words in sentence


def test_a_batch_whose_images_alone_are_too_large(monkeypatch):
    monkeypatch.setattr(memory, "total_memory", lambda: 10**9)
    check_batch(1_000, 3, 256)
    with pytest.raises(UserError, match="batch_size is too large: 2,000 images of 256 px take 2 GB, but this machine"):
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


def test_too_large_a_batch_says_what_to_try():
    short = "this machine has too little memory for 64 images at a time: try less"
    with pytest.raises(UserError, match=short), advising(64, "try less"):
        torch.empty(2**60)
    with pytest.raises(UserError, match="this GPU has too little memory for 64 images"), advising(64, "try less"):
        raise torch.OutOfMemoryError("CUDA out of memory")
    for error in (RuntimeError("mat1"), RuntimeError("DataLoader worker is killed by signal: Bus error.")):
        with pytest.raises(RuntimeError, match="mat1|Bus error"), advising(64, "try less"):
            raise error


@pytest.mark.parametrize(
    ("share", "batch_gpu", "group", "now", "words"),
    [
        (64, None, 4, 64, "try batch_gpu 32, with the same result in about 50% of it"),
        (64, 16, 4, 16, "try batch_gpu 8,"),
        (12, None, 4, 12, "try batch_gpu 4, with the same result in about 33% of it"),
        (4, None, 4, 4, "use a batch_size below 4"),
    ],
)
def test_rounds_of_a_generator_s_training(share, batch_gpu, group, now, words):
    images, advice = smaller_rounds(share, batch_gpu, group)
    assert images == now
    assert words in advice
    tried = re.search(r"batch_gpu (\d+)", advice)
    assert tried is None or number_of_rounds(share, int(tried[1]), group) == share // int(tried[1])


@pytest.mark.parametrize(
    ("share", "accumulate", "now", "words"),
    [
        (8, 1, 8, "try `accumulate` 2,"),
        (8, 2, 4, "try `accumulate` 4,"),
        (9, 1, 9, "try `accumulate` 3,"),
        (1, 1, 1, "below 1"),
    ],
)
def test_parts_of_an_encoder_s_training(share, accumulate, now, words):
    images, advice = smaller_parts(share, accumulate)
    assert images == now
    assert words in advice
