import itertools
import math

import pytest
import torch

from psp.losses import WeightedLosses
from psp.losses.l2 import L2
from psp.model import Codes
from psp.optimize import FEATURE_L2, losses_for, optimize_codes, ramped
from stylegan2.networks.registry import GENERATORS


@pytest.fixture
def generator():
    generator = GENERATORS.build(
        "stylegan2", 16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2
    ).eval()
    generator.mapping.w_avg.normal_()
    return generator


@pytest.fixture
def target(generator):
    """[3, 3, 16, 16], renderings of the generator itself, so that there is something to find."""
    with torch.no_grad():
        return generator(torch.randn(3, 8))


def start(generator):
    return Codes(generator.w_avg.expand(generator.num_ws, -1))  # w_plus: [num_ws, w_dim]


def losses():
    return WeightedLosses({"l2": (L2(), 1.0)})


def error(generator, w_plus, target):
    with torch.no_grad():
        return (generator.synthesis(w_plus) - target).square().mean([1, 2, 3])  # [N]


def test_no_step_gives_the_start(generator, target):
    w_plus = optimize_codes(generator, target, losses(), start(generator), steps=0).w_plus
    assert torch.equal(w_plus, start(generator).w_plus.expand(3, -1, -1))


def test_the_first_step_is_adams(generator, target):
    """It moves every number by the learning rate, against its gradient, whatever the gradient's size."""
    seen = []

    class Recorder(torch.nn.Module):
        def synthesis(self, ws, noise_mode):
            seen.append(ws.detach().clone())
            return generator.synthesis(ws, noise_mode)

    optimize_codes(Recorder(), target, losses(), start(generator), steps=40, learning_rate=0.1)
    ws = seen[0].clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad((generator.synthesis(ws) - target).square().sum(), ws)
    moved = gradient.abs() > 1e-4
    step = 0.1 * ramped(0, 40) * gradient.sign()
    assert moved.float().mean() > 0.9
    torch.testing.assert_close((seen[0] - seen[1])[moved], step[moved], rtol=1e-3, atol=1e-6)


def test_the_error_falls_for_every_sample(generator, target):
    before = error(generator, start(generator).w_plus.expand(3, -1, -1), target)
    w_plus = optimize_codes(generator, target, losses(), start(generator), steps=60).w_plus
    assert (error(generator, w_plus, target) < 0.3 * before).all()
    assert not w_plus.requires_grad


def test_samples_do_not_influence_one_another(generator, target):
    together = optimize_codes(generator, target, losses(), start(generator), steps=10).w_plus
    alone = [optimize_codes(generator, sample[None], losses(), start(generator), steps=10).w_plus for sample in target]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-4)


def test_it_may_start_from_codes_of_its_own_for_each(generator, target):
    codes = torch.randn(3, generator.num_ws, 8)
    before = codes.clone()
    w_plus = optimize_codes(generator, target, losses(), Codes(codes), steps=5).w_plus
    assert torch.equal(codes, before)
    assert not torch.equal(w_plus, codes)


def test_targets_may_be_smaller_than_the_renderings(generator, target):
    small = torch.nn.functional.avg_pool2d(target, 2)
    w_plus = optimize_codes(generator, small, losses(), start(generator), steps=30).w_plus
    with torch.no_grad():
        outputs = [generator.synthesis(w) for w in (w_plus, start(generator).w_plus.expand(3, -1, -1))]
    found, first = ((torch.nn.functional.avg_pool2d(x, 2) - small).square().mean() for x in outputs)
    assert found < 0.5 * first


@pytest.mark.parametrize("fails", [False, True])
def test_the_generator_is_as_before(generator, target, fails):
    generator.synthesis.const.requires_grad_(False)
    flags = [parameter.requires_grad for parameter in generator.parameters()]
    weights = [parameter.clone() for parameter in generator.parameters()]

    def stop(step):
        assert not any(parameter.requires_grad for parameter in generator.parameters())
        if fails:
            raise KeyboardInterrupt

    try:
        optimize_codes(generator, target, losses(), start(generator), steps=2, on_step=stop)
    except KeyboardInterrupt:
        assert fails
    assert [parameter.requires_grad for parameter in generator.parameters()] == flags
    assert all(torch.equal(p, w) for p, w in zip(generator.parameters(), weights, strict=True))
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_the_rate_ramps_up_linearly_and_down_as_a_cosine():
    rates = [ramped(step, 1000) for step in range(1000)]
    assert rates[:50] == pytest.approx([(step + 1) / 50 for step in range(50)])
    assert rates[50:751] == pytest.approx([1.0] * 701)
    assert rates[875] == pytest.approx(0.5)
    assert rates[950] == pytest.approx(0.5 - 0.5 * math.cos(math.pi * 0.2))
    assert rates[999] == pytest.approx(0.5 - 0.5 * math.cos(math.pi * 0.004))


@pytest.mark.parametrize("steps", [1, 2, 10, 500])
def test_every_step_has_a_rate(steps):
    assert all(0 < ramped(step, steps) <= 1 for step in range(steps))


@pytest.mark.parametrize("steps", [1, 4])
def test_every_step_moves_the_codes(generator, target, steps):
    seen = []

    class Recorder(torch.nn.Module):
        def synthesis(self, ws, noise_mode):
            seen.append(ws.detach().clone())
            return generator.synthesis(ws, noise_mode)

    seen.append(optimize_codes(Recorder(), target, losses(), start(generator), steps=steps).w_plus)
    assert len(seen) == steps + 1
    assert not any(torch.equal(before, after) for before, after in itertools.pairwise(seen))


def test_features_are_optimised_too(generator, target):
    features = torch.zeros(3, generator.synthesis.feature_channels[8], 8, 8)
    codes = Codes(start(generator).w_plus.expand(3, -1, -1), features)
    found = optimize_codes(generator, target, losses(), codes, steps=60)
    alone = optimize_codes(generator, target, losses(), start(generator), steps=60)
    with torch.no_grad():
        corrected = generator.synthesis(found.w_plus, features=found.features)
    assert (corrected - target).square().mean() < error(generator, found.w_plus, target).mean()
    assert (corrected - target).square().mean() < error(generator, alone.w_plus, target).mean()
    assert torch.equal(features, torch.zeros_like(features))


def test_the_squared_error_weighs_more_for_codes_with_features(generator):
    weighted = WeightedLosses({"l2": (L2(), 0.5), "other": (L2(), 0.8)})
    codes = start(generator)
    assert losses_for(codes, weighted) is weighted
    found = losses_for(Codes(codes.w_plus, torch.zeros(1, 8, 8, 8)), weighted)
    assert found.weights == {"l2": 0.5 * FEATURE_L2, "other": 0.8}
    assert weighted.weights == {"l2": 0.5, "other": 0.8}
    assert found.losses["other"] is weighted.losses["other"]
