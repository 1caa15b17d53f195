"""Edited codes: the correction of features stays where nothing changes and gives way where the features change."""

import pytest
import torch

from psp.feature_editing import damped, edited_codes, share_of_edit
from psp.model import Codes, rendered
from stylegan2.networks.registry import GENERATORS

SIZES = {"img_resolution": 32, "z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 16, "mapping_layers": 1}


@pytest.fixture(scope="module", params=["stylegan2", "stylegan"])
def generator(request):
    torch.manual_seed(0)
    return GENERATORS.build(request.param, **SIZES).eval().requires_grad_(False)


@pytest.fixture
def codes(generator):
    random = torch.Generator().manual_seed(1)
    w = torch.randn(3, generator.num_ws, 8, generator=random)
    return Codes(w, torch.randn(3, generator.synthesis.feature_channels[8], 8, 8, generator=random))


def test_codes_that_do_not_move_stay_bit_for_bit(generator, codes):
    codes.features[0, :, 2, 3] = 0.0  # a cell without a correction
    edited = edited_codes(generator, codes, codes.w_plus.clone())
    assert torch.equal(edited.features, codes.features)
    assert torch.equal(rendered(generator, edited), rendered(generator, codes))


def test_rows_after_the_corrected_layer_leave_the_correction(generator, codes):
    moved = codes.w_plus.clone()
    moved[:, -2:] += 1.0
    assert torch.equal(edited_codes(generator, codes, moved).features, codes.features)


def test_an_empty_correction_renders_as_w_plus_alone(generator, codes):
    moved = codes.w_plus + 0.5
    empty = Codes(codes.w_plus, torch.zeros_like(codes.features))
    edited = edited_codes(generator, empty, moved)
    assert torch.equal(rendered(generator, edited), rendered(generator, Codes(moved)))
    assert edited_codes(generator, Codes(codes.w_plus), moved).features is None


def test_a_strong_edit_leaves_only_the_generators_own_features(generator, codes):
    moved = codes.w_plus + torch.randn(8, generator=torch.Generator().manual_seed(2))
    tiny = Codes(codes.w_plus, 1e-3 * codes.features)
    edited = edited_codes(generator, tiny, moved)
    assert edited.features.abs().max() < 1e-2 * tiny.features.abs().max()
    torch.testing.assert_close(rendered(generator, edited), rendered(generator, Codes(moved)), atol=1e-5, rtol=1e-4)


def test_codes_are_edited_one_by_one(generator, codes):
    moved = codes.w_plus + 0.3
    together = edited_codes(generator, codes, moved).features
    alone = [edited_codes(generator, part, w).features for part, w in zip(codes.split(1), moved.split(1), strict=True)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_a_local_change_removes_the_correction_there_and_nowhere_else():
    correction = torch.ones(1, 4, 8, 8)
    change = torch.zeros(1, 4, 8, 8)
    change[..., 2, 5] = 100.0
    change[..., 6, 1] = 0.5  # of a correction of 1, with k = 2: half is left
    left = damped(correction, change, damping=2.0)
    assert left[..., 2, 5].abs().max() < 1e-3
    torch.testing.assert_close(left[..., 6, 1], torch.full((1, 4), 0.5))
    left[..., 2, 5] = left[..., 6, 1] = 1.0
    assert torch.equal(left, correction)


def test_damping_does_not_depend_on_the_unit_of_the_features():
    random = torch.Generator().manual_seed(0)
    correction, change = torch.randn(2, 1, 4, 8, 8, generator=random)
    torch.testing.assert_close(damped(1000 * correction, 1000 * change), 1000 * damped(correction, change))


def test_a_local_edit_changes_the_cells_of_the_largest_changes(generator, codes):
    change = torch.full((1, 4, 8, 8), 0.01)
    change[..., :4, :4] = 1.0
    share = share_of_edit(change)
    assert share.shape == (1, 1, 8, 8)
    assert (share[..., :3, :3] == 1).all()
    assert (share[..., 6:, 6:] < 0.05).all()
    assert torch.equal(share_of_edit(torch.zeros(1, 4, 8, 8)), torch.zeros(1, 1, 8, 8))

    still = edited_codes(generator, codes, codes.w_plus.clone(), local=True)
    assert torch.equal(still.features, codes.features)
    moved = codes.w_plus + 0.5 * torch.randn(8, generator=torch.Generator().manual_seed(2))
    own = [generator.synthesis.features_at(w, 8) for w in (codes.w_plus, moved)]
    local, everywhere = (edited_codes(generator, codes, moved, local=local).features for local in (True, False))
    before, far = own[0] + codes.features, own[1] + everywhere
    near = own[1] + local  # between the unedited features and those of an edit everywhere
    torch.testing.assert_close((near - before).norm() + (far - near).norm(), (far - before).norm(), rtol=0.1, atol=0)
    assert (near - before).norm() < 0.99 * (far - before).norm()
