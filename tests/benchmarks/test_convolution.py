"""The benchmark of the CPU's convolutions at toy sizes."""

import pytest
import torch

from benchmarks import convolution


@pytest.mark.parametrize(
    "work",
    [
        convolution.weight_gradients,
        convolution.transposed_forms,
        convolution.column_forms,
        convolution.column_gradients,
    ],
)
def test_all_forms_compute_the_same(work):
    (first, *others), chosen = work((2, 3, 4, 8, 3, 2))
    for other in others:
        torch.testing.assert_close(first(), other())
    assert 0 <= chosen <= len(others)


def test_a_table(monkeypatch, capsys):
    monkeypatch.setattr(convolution, "GRADIENTS", [(1, 4, 4, 8, 3, 1)])
    monkeypatch.setattr(convolution, "TRANSPOSED", [(1, 4, 4, 8, 3, 2)])
    monkeypatch.setattr(convolution, "FEW_PIXELS", [(1, 4, 4, 4, 3, 2)])
    monkeypatch.setattr(convolution, "tune_process", lambda: None)
    convolution.main(["--repetitions", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert [line.count("*") for line in lines] == [1] + [0, 1] * 4
