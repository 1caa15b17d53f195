"""Feature corrections: added to the maps of one resolution, whatever the generation."""

import pytest
import torch

from stylegan2.networks.registry import GENERATORS

SIZES = {"img_resolution": 32, "z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 16, "mapping_layers": 1}
KINDS = [("stylegan2", {"architecture": a}) for a in ("skip", "residual", "plain")] + [
    ("stylegan", {"normalization": n}) for n in ("adain", "demodulation")
]


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join([kind[0], *kind[1].values()]))
def generator(request):
    name, settings = request.param
    return GENERATORS.build(name, **SIZES, **settings).eval().requires_grad_(False)


def corrected(generator, ws, side, scale=1.0):
    shape = (len(ws), generator.synthesis.feature_channels[side], side, side)
    features = scale * torch.randn(shape, generator=torch.Generator().manual_seed(3))
    return generator.synthesis(ws, noise_mode="const", features=features)


@pytest.mark.parametrize("side", [4, 8, 32])
def test_a_correction_changes_the_image_and_zero_does_not(generator, side):
    ws = generator.mapping(torch.randn(2, 8))
    plain = generator.synthesis(ws, noise_mode="const")
    assert torch.equal(corrected(generator, ws, side, scale=0.0), plain)
    assert (corrected(generator, ws, side) - plain).abs().mean() > 1e-3


def test_without_the_features_of_a_block_no_earlier_code_matters(generator):
    adds_images = getattr(generator.synthesis, "architecture", "") == "skip"  # of earlier blocks
    for block in [0] if adds_images else [0, 1, 3]:
        ws = generator.mapping(torch.randn(2, 8))
        other = ws.clone()
        other[:, : 2 * block + 1] += 1.0
        side = 4 << block
        rest, same = (generator.synthesis(w, features=-generator.synthesis.features_at(w, side)) for w in (ws, other))
        torch.testing.assert_close(rest, same)
        assert (generator.synthesis(ws) - generator.synthesis(other)).abs().mean() > 1e-4


def test_a_correction_is_local_to_its_place(generator):
    ws = generator.mapping(torch.randn(1, 8))
    features = torch.zeros(1, generator.synthesis.feature_channels[32], 32, 32)
    features[:, :, 0, 0] = 1.0
    change = generator.synthesis(ws, noise_mode="const", features=features) - generator.synthesis(ws)
    assert change[:, :, 0, 0].abs().max() > 0
    assert change[:, :, 4:, 4:].abs().max() == 0


def test_gradients_reach_the_correction(generator):
    ws = generator.mapping(torch.randn(1, 8))
    features = torch.zeros(1, generator.synthesis.feature_channels[8], 8, 8, requires_grad=True)
    generator.synthesis(ws, noise_mode="const", features=features).square().mean().backward()
    assert features.grad is not None
    assert features.grad.abs().max() > 0
