"""The plain formulas are those of StyleGAN2, and the functions that measure are correct."""

import time

import pytest
import torch

from benchmarks import plain
from benchmarks.measure import busy_seconds, convolution_peak, interleaved, peak_memory_mb, timed
from stylegan2.networks.registry import GENERATORS


@pytest.mark.parametrize("samples", [1, 3])
def test_the_plain_formula_equals_ours(samples):
    generator = GENERATORS.build(
        "stylegan2", 32, z_dim=8, w_dim=8, channel_base=256, channel_max=12, mapping_layers=1
    ).double()
    for tensor in generator.synthesis.parameters():
        tensor.data.copy_(torch.randn_like(tensor))
    ws = torch.randn(samples, generator.num_ws, 8, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(plain.synthesis(generator, ws), generator.synthesis(ws), rtol=1e-9, atol=1e-9)


def test_forms_take_turns_and_the_first_repetition_is_left_out():
    order = []

    def call(name, pause):
        order.append(name)
        time.sleep(pause if len(order) > 2 else 0.05)  # the first calls are slow

    figures = interleaved({"a": lambda: call("a", 0.0), "b": lambda: call("b", 0.01)}, repetitions=3)
    assert order == ["a", "b"] * 4
    assert figures["a"].seconds < 0.01 <= figures["b"].seconds < 0.05
    assert figures["b"].fastest <= figures["b"].seconds


@pytest.mark.skipif(busy_seconds() is None, reason="this system does not tell its load")
def test_own_work_is_no_foreign_load():
    def work():
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass

    seconds, foreign = timed(work)
    idle, foreign_idle = timed(lambda: time.sleep(0.3))
    assert seconds >= 0.3
    assert idle >= 0.3
    assert foreign is not None
    assert foreign_idle is not None
    # Others may work meanwhile, as much in one as in the other; half of two processors would be our own work.
    assert 0 <= foreign <= foreign_idle + 0.35


def test_peak_and_memory():
    convolution_peak(torch.float32, calls=1)()
    memory = peak_memory_mb()
    assert memory is None or 50 < memory < 100_000
