"""Pivotal tuning: a copy comes close to the image, the original stays, and locality keeps the neighbourhood."""

import pytest
import torch

from psp.losses import WeightedLosses
from psp.losses.l2 import L2
from psp.model import Codes
from psp.optimize import PIVOT_DISTANCE, tune_generator
from stylegan2.networks.registry import GENERATORS


@pytest.fixture
def generator():
    torch.manual_seed(1)
    generator = GENERATORS.build(
        "stylegan2", 16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2
    ).eval()
    with torch.no_grad():
        for layer in generator.synthesis.layers:
            layer.noise_strength.fill_(0.1)
    return generator


@pytest.fixture
def target():
    """An image that the generator cannot render from the pivot."""
    return torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.fixture
def pivot(generator):
    with torch.no_grad():
        return generator.mapping(torch.randn(1, 8))


def losses():
    return WeightedLosses({"l2": (L2(), 1.0)})


def error(generator, w_plus, target):
    with torch.no_grad():
        return float((generator.synthesis(w_plus) - target).square().mean())


def tune(generator, target, pivot, **settings):
    return tune_generator(generator, target, Codes(pivot), losses(), **{"steps": 40, "learning_rate": 5e-3, **settings})


def test_the_copy_comes_close_and_the_original_stays(generator, target, pivot):
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    flags = [parameter.requires_grad for parameter in generator.parameters()]
    tuned = tune(generator, target, pivot)
    assert error(tuned, pivot, target) < 0.5 * error(generator, pivot, target)
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())
    assert [parameter.requires_grad for parameter in generator.parameters()] == flags
    assert all(parameter.grad is None for parameter in [*generator.parameters(), *tuned.parameters()])
    assert not any(parameter.requires_grad for parameter in tuned.parameters())
    assert not tuned.training


def test_only_the_synthesis_changes(generator, target, pivot):
    tuned = tune(generator, target, pivot, steps=3)
    changed = {name for name, t in tuned.state_dict().items() if not torch.equal(t, generator.state_dict()[name])}
    assert changed
    assert all(name.startswith("synthesis.") and "noise_const" not in name for name in changed)


def test_the_first_step_is_adams(generator, target, pivot):
    """It moves every weight by the learning rate, against its gradient."""
    (generator.synthesis(pivot) - target).square().mean().backward()
    gradients = {name: p.grad.clone() for name, p in generator.synthesis.named_parameters() if p.grad is not None}
    tuned = dict(tune(generator, target, pivot, steps=1, learning_rate=1e-3).synthesis.named_parameters())
    for name, gradient in gradients.items():
        moved = gradient.abs() > 1e-5
        assert moved.any(), name
        step = (tuned[name] - generator.synthesis.get_parameter(name).detach())[moved]
        torch.testing.assert_close(step, -1e-3 * gradient.sign()[moved], rtol=2e-2, atol=1e-6)


def test_no_step_gives_an_equal_copy(generator, target, pivot):
    tuned = tune(generator, target, pivot, steps=0)
    assert tuned is not generator
    assert all(torch.equal(t, generator.state_dict()[name]) for name, t in tuned.state_dict().items())


def test_small_targets_and_counted_steps(generator, pivot):
    small, seen = torch.zeros(1, 3, 8, 8), []
    tuned = tune(generator, small, pivot, steps=20, on_step=seen.append)
    assert seen == list(range(1, 21))
    with torch.no_grad():
        halved = [torch.nn.functional.avg_pool2d(g.synthesis(pivot), 2).square().mean() for g in (tuned, generator)]
    assert halved[0] < 0.5 * halved[1]


def test_locality_keeps_what_lies_around_the_pivot(generator, target, pivot):
    """At the distance of the paper's eq. 4 the tuned generator stays nearer to the original; the seed decides where."""
    z = torch.randn(16, 8)
    with torch.no_grad():
        direction = generator.mapping(z) - pivot
        nearby = pivot + PIVOT_DISTANCE * direction / direction.flatten(1).norm(dim=1)[:, None, None]
        unchanged = generator.synthesis(nearby)
    free, local = tune(generator, target, pivot), tune(generator, target, pivot, locality=1.0)
    assert error(local, nearby, unchanged) < 0.5 * error(free, nearby, unchanged)
    assert error(local, pivot, target) < error(generator, pivot, target)
    again, other = (tune(generator, target, pivot, locality=1.0, seed=seed) for seed in (0, 1))
    assert error(again, pivot, target) == error(local, pivot, target) != error(other, pivot, target)
