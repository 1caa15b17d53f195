"""The gate of bf16: measured on the first batch, and fp32 where the difference is too large."""

import pytest
import torch
from torch import nn

from psp.precision import LIMIT, autocast, difference_8bit, pick_precision, safe_precision
from stylegan2.runtime.errors import UserError


class Painter(nn.Module):
    """Renders gray; off by `error` of 255 wherever it runs in 16-bit numbers."""

    def __init__(self, error):
        super().__init__()
        self.error, self.seen = error, []

    def forward(self, images):
        sixteen = (torch.ones(1, 1) @ torch.ones(1, 1)).dtype == torch.bfloat16
        self.seen.append((len(images), sixteen))
        return torch.full((len(images), 3, 4, 4), self.error / 127.5 if sixteen else 0.0)


@pytest.mark.parametrize(
    ("error", "kept"), [(0.0, "bf16"), (LIMIT * 0.9, "bf16"), (LIMIT * 1.1, "fp32"), (float("nan"), "fp32")]
)
def test_the_limit_decides(error, kept, capsys):
    painter = Painter(error)
    assert safe_precision(painter, torch.zeros(7, 3, 4, 4), "bf16") == kept
    assert [sixteen for _, sixteen in painter.seen] == [False, True] * 2  # the first pass of each is not timed
    assert max(count for count, _ in painter.seen) <= 4
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(f"using {kept}")
    assert "nan" in str(error) or f"{error:.2f} of 255" in line


def test_fp32_is_not_measured(capsys):
    painter = Painter(9.0)
    assert safe_precision(painter, torch.zeros(1, 3, 4, 4), "fp32") == "fp32"
    assert painter.seen == []
    assert capsys.readouterr().out == ""


def test_difference_counts_8_bit_steps_of_what_is_shown():
    a = torch.tensor([-1.0, 0.0, 1.0, 5.0])
    assert difference_8bit(a, a + torch.tensor([2 / 127.5, 0, 0, 3])) == pytest.approx(0.5)


def test_autocast_of_both_precisions():
    x = torch.ones(2, 2)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(torch.device("cpu"), precision):
            assert (x @ x).dtype == dtype


def test_what_a_cpu_takes():
    cpu = torch.device("cpu")
    found = {precision: pick_precision(precision, cpu) for precision in ("auto", "fp32", "tf32", "bf16")}
    assert found == {"auto": "fp32", "fp32": "fp32", "tf32": "fp32", "bf16": "bf16"}
    with pytest.raises(UserError, match="float16 needs an NVIDIA GPU, not cpu: use fp32 or bf16"):
        pick_precision("fp16", cpu)
    with pytest.raises(UserError, match="no precision 'fp8'"):
        pick_precision("fp8", cpu)
