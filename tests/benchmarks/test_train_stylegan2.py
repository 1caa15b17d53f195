"""The average cost of a training step, and the equality of the forms that the benchmark compares."""

import importlib.util
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from benchmarks import peers, plain, train_stylegan2
from benchmarks.measure import PEAK_GFLOP
from benchmarks.phases import Phase, amortised, count_gflop, parts
from options.networks import chosen_settings
from options.parse import parse
from scripts.train_stylegan2 import TrainStyleGAN2
from stylegan2 import losses, training_step
from stylegan2.networks.registry import TINY_CPU
from stylegan2.networks.stylegan2 import Discriminator
from stylegan2.ops import columns, convolution
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages

PHASES = {"R1": Phase(16, "step"), "path length": Phase(4, "step")}
NESTED = {"R1": Phase(4, "step"), "path length": Phase(32, "R1")}


def small(resolution="16"):
    sizes = ["--resolution", resolution, "--z_dim", "8", "--w_dim", "8", "--channel_base", "128", "--channel_max", "8"]
    flags = ["--preset", "tiny-cpu", *sizes, "--mapping_layers", "1", "--batch_size", "4"]
    return parse(TrainStyleGAN2, chosen_settings, args=flags)


# --- arithmetic ---


def test_a_phase_is_what_its_step_takes_more():
    steps = {"step": 2.0, "R1": 3.6, "path length": 4.0}
    assert parts(steps, PHASES) == pytest.approx({"step": 2.0, "R1": 1.6, "path length": 2.0})
    assert amortised(steps, PHASES) == pytest.approx(2.0 + 1.6 / 16 + 2.0 / 4)


def test_amortised_is_the_mean_over_many_steps():
    steps = {"step": 2.0, "R1": 3.5, "path length": 5.0}  # here a step with path length has R1 too
    taken = [steps["path length" if k % 32 == 0 else "R1" if k % 4 == 0 else "step"] for k in range(64)]
    assert amortised(steps, NESTED) == pytest.approx(sum(taken) / 64)


def test_tables():
    def form(seconds, gflop):
        figures = {
            step: {"seconds": took, "fastest": took / 2, "foreign": load}
            for step, took, load in zip(("step", "R1", "path length"), seconds, (0.1, None, 0.4), strict=True)
        }
        works = dict(zip(figures, gflop, strict=True))
        return {"figures": figures, "gflop": works, "phases": {k: list(v) for k, v in PHASES.items()}}

    peak_seconds = train_stylegan2.PEAK_CALLS * PEAK_GFLOP / 100  # 100 GFLOP/s
    measured = {
        "threads": 2,
        "images": 8,
        "peak": {"seconds": 9.0, "fastest": peak_seconds, "foreign": 0.25},
        "peak_mb": {"depthwise": 900.4, "ours": None},
        "forms": {
            "depthwise": {**form((4.0, 5.6, 7.6), (40.0, 56.0, 80.0)), "parameters": 2_310_000},
            "ours": {**form((2.0, 3.6, 3.6), (40.0, 56.0, 80.0)), "parameters": 2_310_000},
        },
    }
    text = train_stylegan2.tables("tiny", "tuned", measured)
    assert "### tiny, batch 8, malloc tuned, threads: 2" in text
    assert "100 GFLOP/s, foreign load 25%" in text
    assert "| ours | step | step | 2000 | 1000 | 40.0 | 40% | 10% |" in text
    assert "| ours | R1 | 16 steps | 1600 | 800 | 16.0 | 31% | unknown |" in text
    assert "| ours | path length | 4 steps | 1600 | 800 | 40.0 | 44% | 40% |" in text
    # depthwise: 4 + 1.6 / 16 + 3.6 / 4 = 5 s; ours: 2 + 1.6 / 16 + 1.6 / 4 = 2.5 s; 40 + 16 / 16 + 40 / 4 = 51 GFLOP.
    assert "| depthwise | 1.60 | 3.20 | 1.00x | 6.38 | 20% | 40% | 2.31 M | 900 MB |" in text
    assert "| ours | 3.20 | 6.40 | 2.00x | 6.38 | 41% | 40% | 2.31 M | unknown |" in text


# --- counting ---


@pytest.mark.parametrize("transposed", [False, True])
def test_groups_cost_what_their_convolutions_cost(transposed):
    convolve = F.conv_transpose2d if transposed else F.conv2d
    x, weight = torch.randn(2, 12, 8, 8, requires_grad=True), torch.randn(12, 4, 3, 3, requires_grad=True)

    def grouped():
        convolve(x, weight, groups=3).sum().backward()

    def apart():
        for part, own in zip(x.chunk(3, 1), weight.chunk(3, 0), strict=True):
            convolve(part, own).sum().backward()

    places = 64 if transposed else 36
    assert count_gflop(grouped) == count_gflop(apart) == 3 * 2 * 2 * 12 * 4 * 9 * places / 1e9


def test_convolutions_are_counted_without_autograd_too():
    x, weight = torch.randn(2, 3, 8, 8), torch.randn(5, 3, 3, 3)
    with torch.inference_mode():
        assert count_gflop(lambda: F.conv2d(x, weight)) == 2 * 2 * 5 * 3 * 9 * 36 / 1e9


def test_a_gradient_that_nobody_wants_costs_nothing():
    x, weight = torch.randn(2, 3, 8, 8), torch.randn(5, 3, 3, 3, requires_grad=True)
    assert count_gflop(lambda: F.conv2d(x, weight).sum().backward()) == 2 * 2 * 2 * 5 * 3 * 9 * 36 / 1e9


def test_a_gradient_of_a_gradient_is_counted():
    linear = torch.nn.Linear(6, 5, bias=False)
    x = torch.randn(4, 6, requires_grad=True)

    def penalize():
        (grad,) = torch.autograd.grad(linear(x).square().sum(), x, create_graph=True)
        grad.square().sum().backward()

    # y = x W^T, its gradient, and of these two products the two gradients each.
    assert count_gflop(penalize) == pytest.approx(6 * 2 * 4 * 6 * 5 / 1e9)


# --- forms ---


@pytest.mark.parametrize("parts", [1, 2])
def test_the_plain_discriminator_equals_ours(parts):
    D = Discriminator(32, channel_base=256, channel_max=12).double()
    for parameter in D.parameters():
        parameter.data.copy_(torch.randn_like(parameter))
    images = torch.randn(8, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(plain.discriminator(D, images, parts), D(images, parts), rtol=1e-9, atol=1e-9)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
def test_all_forms_take_the_same_step(monkeypatch):
    # Random numbers in the order of the shape, not of a memory layout in which the forms differ.
    monkeypatch.setattr(losses, "normal_like", lambda x: torch.randn(x.shape))
    settings = small()
    s = replace(settings.training, r1_interval=1, path_length_interval=1)
    ends = []
    for name in ("by_channel", "depthwise", "ours"):
        state, real = train_stylegan2.build(settings, name)
        for parameter in state.G.synthesis.parameters():
            if parameter.ndim == 0:
                parameter.data.fill_(0.3)  # strengths of the noise, which start at 0
        averages = Averages()
        torch.manual_seed(1)
        training_step.step(state, real, settings=s, r1_gamma=1.0, averages=averages, guard=Guard(9))
        gradients = {name: parameter.grad for name, parameter in state.G.named_parameters()}
        ends.append((averages.pop(), gradients))
    own_seen, own_gradients = ends.pop()
    assert {"loss/D", "loss/G", "loss/r1", "path_length/penalty"} <= set(own_seen)
    for seen, gradients in ends:
        assert own_seen == pytest.approx(seen, rel=1e-7)
        torch.testing.assert_close(own_gradients, gradients, rtol=1e-6, atol=1e-9)


def test_phases_are_steps_of_the_trainer_and_take_more():
    form = train_stylegan2.own_form(small(), "ours")
    assert form.phases == {"R1": Phase(16, "step"), "path length": Phase(4, "step")}
    gflop = {step: count_gflop(call) for step, call in form.steps.items()}
    assert 0 < gflop["step"] < min(gflop["R1"], gflop["path length"])


def test_cases_are_the_presets():
    tiny = train_stylegan2.settings_of("tiny")
    assert tiny.network.channel_base == TINY_CPU["channel_base"]
    assert tiny.training.batch_size == TINY_CPU["batch_size"]
    assert train_stylegan2.settings_of("auto256").network.resolution == 256
    with pytest.raises(UserError, match="no case 'huge'"):
        train_stylegan2.Benchmark(cases=["huge"])


# --- stylegan2-pytorch ---


def test_without_the_package_a_line_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "stylegan2_pytorch", None)
    assert train_stylegan2.forms_here() == ["by_channel", "depthwise", "ours"]
    (line,) = capsys.readouterr().out.splitlines()
    assert "stylegan2-pytorch is not installed" in line


def test_a_package_that_fails_is_left_out(monkeypatch, capsys, tmp_path):
    (tmp_path / "stylegan2_pytorch.py").write_text("import torch\nassert not torch.cuda.is_available(), 'no use'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stylegan2_pytorch", raising=False)
    assert train_stylegan2.forms_here() == ["by_channel", "depthwise", "ours"]
    assert "cannot be imported: no use" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("stylegan2_pytorch") is None, reason="stylegan2-pytorch is not installed")
def test_its_step_trains_on_the_cpu():
    form = peers.lucidrains_form(small("32"))
    gflop = {step: count_gflop(call) for step, call in form.steps.items()}
    assert 0 < gflop["step"] < gflop["gradient penalty"] < gflop["path length"]


@pytest.mark.skipif(not columns.has_linear(), reason="this PyTorch has no oneDNN")
@torch.no_grad()
def test_what_onednn_is_asked_for_is_counted():
    """Convolutions of few pixels, and those of one phase of a transposed convolution."""
    x = torch.randn(2, 4, 6, 6).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(5, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    few = count_gflop(lambda: columns.convolve_columns(x, weight, None, (2, 2), (1, 1)))
    assert few == count_gflop(lambda: F.conv2d(x, weight, stride=2, padding=1))
    phases = count_gflop(lambda: convolution.conv_transpose2d_by_phases(x, weight))
    assert phases == pytest.approx(2 * 2 * 4 * 5 * (4 * 49 + 2 * 2 * 42 + 36) / 1e9)
