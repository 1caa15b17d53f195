"""Conjugate gradients: exact on linear problems, sample by sample, and never worse than the start."""

import pytest
import torch

from psp.conjugate_gradient import descend
from psp.encoders import encoder_for
from psp.model import PSp
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError

SHAPE = (2, 2, 2)  # of features and of errors: 8 numbers each


def linear(count, seed=0):
    """Random matrices [N, 8, 8] of moderate condition, and what they are to give [N, 8]."""
    random = torch.Generator().manual_seed(seed)
    matrices = torch.randn(count, 8, 8, generator=random, dtype=torch.float64) + 4 * torch.eye(8, dtype=torch.float64)
    return matrices, torch.randn(count, 8, generator=random, dtype=torch.float64)


def error_of(matrices, wanted):
    return lambda features: ((matrices @ features.flatten(1)[:, :, None])[:, :, 0] - wanted).reshape(-1, *SHAPE)


def test_it_solves_a_linear_problem_in_as_many_steps_as_there_are_numbers():
    matrices, wanted = linear(3)
    start = torch.full((3, *SHAPE), 0.1, dtype=torch.float64)
    found = descend(error_of(matrices, wanted), start, 8)
    expected = torch.linalg.solve(matrices, wanted)
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-6, atol=1e-6)
    halfway = descend(error_of(matrices, wanted), start, 3).flatten(1)
    assert ((halfway - expected).norm(dim=1) > 1e-3).all()


def test_no_sample_depends_on_another():
    matrices, wanted = linear(4, seed=1)
    wanted = wanted * torch.tensor([1.0, 1e-3, 1e3, 0.0], dtype=torch.float64)[:, None]
    start = torch.randn(4, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    together = descend(error_of(matrices, wanted), start, 4)
    for n in range(4):
        alone = descend(error_of(matrices[n : n + 1], wanted[n : n + 1]), start[n : n + 1], 4)
        torch.testing.assert_close(together[n : n + 1], alone)


def test_where_nothing_can_be_gained_the_features_stay():
    matrices, wanted = linear(2)
    solved = torch.linalg.solve(matrices, wanted).reshape(2, *SHAPE)
    torch.testing.assert_close(descend(error_of(matrices, wanted), solved, 5), solved)
    zeros = torch.zeros(2, *SHAPE)
    assert torch.equal(descend(lambda features: features * 0 + 1, zeros, 5), zeros)
    assert torch.equal(descend(lambda features: features**2, zeros, 5), zeros)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_step_that_goes_wrong_is_not_kept(steps):
    start = torch.full((1, *SHAPE), 3.0)
    found = descend(lambda features: torch.sin(40 * features) + 0.5 * features, start, steps)

    def squared(features):
        return (torch.sin(40 * features) + 0.5 * features).square().sum()

    assert torch.isfinite(found).all()
    assert squared(found) <= squared(start)


@pytest.fixture
def model():
    torch.manual_seed(0)
    generator = GENERATORS.build(
        "stylegan2", 32, z_dim=8, w_dim=8, channel_base=512, channel_max=16, mapping_layers=1
    ).requires_grad_(False)
    model = PSp(encoder_for(generator, "light_feature_gradient"), generator).eval()
    torch.nn.init.normal_(model.encoder.corrector.out.weight, std=0.02)
    return model


@torch.no_grad()
def test_the_model_comes_closer_step_by_step_and_keeps_w_plus(model):
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    before, errors = model.encode(images), []
    for model.conjugate_steps in (0, 4, 16):
        codes = model.encode(images)
        assert torch.equal(codes.w_plus, before.w_plus)
        errors.append((model.decode(codes) - images).square().mean((1, 2, 3)))
    assert (errors[0] > 1.05 * errors[1]).all()
    assert (errors[1] > 1.05 * errors[2]).all()
    model.iterations = 1
    assert model.encode(images).features is None  # codes in W+ stay such


@torch.no_grad()
def test_it_computes_in_single_precision_under_autocast(model):
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    start = model.encode(images)
    expected = model.descend(images, start, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = model.descend(images, start, 4)
    assert torch.equal(found.features, expected.features)


def test_steps_that_cannot_be(model):
    with pytest.raises(UserError, match="must be at least 0, not -1"):
        model.conjugate_steps = -1
    plain = PSp(encoder_for(model.generator, "light"), model.generator)
    with pytest.raises(UserError, match="corrects no features"):
        plain.conjugate_steps = 4
    plain.conjugate_steps = 0
    sketch = PSp(encoder_for(model.generator, "light_feature", input_channels=1), model.generator)
    with pytest.raises(UserError, match="no picture of 3 channels"):
        sketch.conjugate_steps = 4
