"""Random styles for several outputs of a source."""

import pytest
import torch

from psp.feature_editing import edited_codes
from psp.mixing import Mixing, Variants, random_styles
from psp.model import Codes
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(3)
    return GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2).eval()


@pytest.mark.parametrize("settings", [{"outputs": 0}, {"alpha": 1.5}, {"alpha": -0.1}, {"alpha": float("nan")}])
def test_numbers_out_of_range(settings):
    with pytest.raises(UserError, match="number|share of the random style"):
        Mixing(**settings)


def test_styles_are_mapped_draws_of_seed_and_number_alone(generator):
    styles = random_styles(generator, 5, seed=7)
    torch.testing.assert_close(random_styles(generator, 2, seed=7), styles[:2])
    assert (styles[0] - styles[1]).abs().max() > 1e-3
    assert (random_styles(generator, 1, seed=8)[0] - styles[0]).abs().max() > 1e-3
    global_state = torch.get_rng_state()
    random_styles(generator, 2, seed=7)
    assert torch.equal(global_state, torch.get_rng_state())
    many = random_styles(generator, 400, seed=0)
    with torch.no_grad():
        drawn = generator.mapping(torch.randn(400, 8))[:, 0]
    torch.testing.assert_close(many.std(0), drawn.std(0), rtol=0.2, atol=0.02)


def test_without_mixing_the_codes_stay(generator):
    codes = Codes(torch.randn(2, generator.num_ws, 8))
    variants = Variants.draw(generator, None)
    assert variants.count == 1
    assert variants.of(generator, codes) is codes


def corrected(generator):
    """Codes of two images with corrections of the features of 8 px."""
    return Codes(torch.randn(2, generator.num_ws, 8), torch.randn(2, generator.synthesis.feature_channels[8], 8, 8))


def test_every_output_of_an_image_has_its_correction(generator):
    codes, last = corrected(generator), str(generator.num_ws - 1)  # a row after the corrected layer
    variants = Variants.draw(generator, Mixing(last, outputs=3))
    mixed = variants.of(generator, codes)
    assert mixed.w_plus.shape == (6, generator.num_ws, 8)
    assert torch.equal(mixed.w_plus[3:, 0], codes.w_plus[1, 0].expand(3, -1))
    assert torch.equal(mixed.w_plus[:3, -1], variants.styles)
    assert torch.equal(mixed.features[:3], 0.5 * codes.features[:1].expand(3, -1, -1, -1))
    assert torch.equal(mixed.features[3:], 0.5 * codes.features[1:].expand(3, -1, -1, -1))
    half_mixed = Variants.draw(generator, Mixing(last, outputs=1, alpha=0.5)).of(generator, codes)
    assert torch.equal(half_mixed.features, 0.75 * codes.features)


def test_corrections_give_way_to_random_styles_as_to_edits(generator):
    codes = corrected(generator)
    mixed = Variants.draw(generator, Mixing("0-1", outputs=2)).of(generator, codes)
    kept = codes.features.repeat_interleave(2, dim=0).square().sum((1, 2, 3))
    assert (mixed.features.square().sum((1, 2, 3)) < 0.9 * kept).all()
    edited = edited_codes(generator, Codes(codes.w_plus[1:], codes.features[1:]), mixed.w_plus[3:])
    torch.testing.assert_close(mixed.features[3:], edited.features)
    little = Variants.draw(generator, Mixing("0-1", outputs=2, alpha=0.01)).of(generator, codes)
    assert (little.features.square().sum((1, 2, 3)) > mixed.features.square().sum((1, 2, 3))).all()
