"""Resolution usage of a real generator."""

import pytest
import torch

from stylegan2.metrics.resolution_usage import resolution_usage
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError


@pytest.fixture
def generator():
    return GENERATORS.build("stylegan2", 32, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=1).eval()


def styles(generator, count=24):
    return generator.mapping(torch.randn(count, generator.z_dim)).detach()


def test_shares_sum_to_1_and_are_the_layers_deviations(generator):
    ws = styles(generator)
    found = resolution_usage(generator, ws, batch_size=7)
    assert list(found) == [4, 8, 16, 32]
    assert sum(found.values()) == pytest.approx(1)
    outputs = {}
    for layer in generator.synthesis.to_rgbs:
        layer.register_forward_hook(lambda m, i, out: outputs.update({out.shape[-1]: out.detach().double()}))
    generator.synthesis(ws)
    deviations = {r: out.var([0, 2, 3], correction=0).mean().sqrt() for r, out in outputs.items()}
    for resolution, share in found.items():
        assert share == pytest.approx(float(deviations[resolution] / sum(deviations.values())), rel=1e-5)


def test_a_silent_resolution_has_no_share(generator):
    ws = styles(generator)
    before = resolution_usage(generator, ws)
    generator.synthesis.to_rgbs[2].weight.data.zero_()
    generator.synthesis.to_rgbs[2].bias.data.fill_(5)  # a constant colour is no detail
    after = resolution_usage(generator, ws)
    assert after[16] == pytest.approx(0, abs=1e-6)
    assert sum(after.values()) == pytest.approx(1)
    assert after[32] / after[8] == pytest.approx(before[32] / before[8], rel=1e-6)


def test_a_louder_resolution_has_a_larger_share(generator):
    ws = styles(generator)
    before = resolution_usage(generator, ws)
    generator.synthesis.to_rgbs[3].weight.data.mul_(3)
    after = resolution_usage(generator, ws)
    assert after[32] / after[4] == pytest.approx(3 * before[32] / before[4], rel=1e-5)


def test_training_is_not_disturbed(generator):
    ws, state = styles(generator), torch.get_rng_state()
    resolution_usage(generator, ws)
    assert torch.equal(torch.get_rng_state(), state)
    assert not generator.synthesis.to_rgbs[0]._forward_hooks


@pytest.mark.parametrize("architecture", ["residual", "plain"])
def test_other_architectures_are_refused(architecture):
    other = GENERATORS.build(
        "stylegan2", 32, z_dim=8, w_dim=8, channel_base=128, channel_max=8, architecture=architecture
    )
    with pytest.raises(UserError, match="architecture 'skip'"):
        resolution_usage(other, styles(other))
