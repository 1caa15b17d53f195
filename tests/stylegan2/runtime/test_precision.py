"""In which numbers a device computes."""

import pytest
import torch

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.precision import set_precision_flags

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
