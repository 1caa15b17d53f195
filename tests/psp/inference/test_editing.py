"""Photos are inverted, edited and laid back; directions are those of the generator, or refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from psp import PSp
from psp.encoders import ENCODERS
from psp.feature_editing import edited_codes
from psp.inference.align import align
from psp.inference.editing import edit_portraits, find_directions, move_codes, paste_back_portraits, plan_moves
from psp.inference.photos import Portrait
from psp.inference.translate import Refinement, translate
from psp.losses import build_losses
from psp.model import Codes
from stylegan2.latents.directions import build_directions, save_directions
from stylegan2.latents.sampling import random_w, render
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import to_uint8

SIDE, W_DIM = 32, 16


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"z_dim": W_DIM, "w_dim": W_DIM, "channel_base": 256, "channel_max": 16, "mapping_layers": 1}
    generator = GENERATORS.build("stylegan2", SIDE, **sizes)
    encoder = ENCODERS.build("light", num_ws=generator.num_ws, w_dim=W_DIM, input_channels=3, input_size=SIDE)
    return PSp(encoder, generator, generator.w_avg).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def directions(model):
    w = random_w(model.generator, 2000, seed=0)
    return build_directions(model.generator, ["smile", "yaw"], torch.eye(W_DIM)[:2], range(model.generator.num_ws), w)


@pytest.fixture
def portraits():
    photo = np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    points = np.array([[30.0, 30.0], [50.0, 32.0], [41.0, 42.0], [33.0, 52.0], [48.0, 53.0]])
    found = []
    for shift in (0, 8):
        picture, crop = align(photo, points + shift, SIDE)
        found.append(Portrait(torch.from_numpy(picture / 127.5 - 1).permute(2, 0, 1).float(), picture, None, crop))
    return photo, found


def test_an_edit_is_the_rendering_of_moved_codes(model, directions, portraits):
    _, found = portraits
    moves = plan_moves([directions], {"smile": 2.0, "yaw": -1.0})
    pictures, _ = edit_portraits(model, found, moves)
    for portrait, picture in zip(found, pictures, strict=True):
        codes = model.encode(portrait.source[None]).w_plus.clone()
        codes[..., 0] += 2 * directions.scales[0]
        codes[..., 1] -= directions.scales[1]
        expected = to_uint8(render(model.generator, codes))[0]
        assert np.abs(picture.astype(int) - expected).max() <= 1
        assert np.abs(picture.astype(int) - to_uint8(model(portrait.source[None]).clamp(-1, 1))[0]).max() > 3


def test_the_tuned_generator_renders_the_edit(model, directions, portraits):
    _, found = portraits
    refinement = Refinement(build_losses({"l2": 1.0}), pivotal_steps=20)
    moves = plan_moves([directions], {"smile": 1.0})
    pictures, _ = edit_portraits(model, found[:1], moves, refinement)
    [batch] = translate(model, [found[0].source], refinement=refinement)
    moved = move_codes(batch.generators[0], batch.codes, moves)
    tuned = to_uint8(render(batch.generators[0], moved.w_plus))[0]
    plain = to_uint8(render(model.generator, moved.w_plus))[0]
    assert np.abs(pictures[0].astype(int) - tuned).max() <= 1
    assert np.abs(pictures[0].astype(int) - plain).max() > 3


def test_a_correction_of_features_follows_the_moved_codes(model, directions):
    features = torch.randn(1, model.generator.synthesis.feature_channels[8], 8, 8)
    codes = Codes(model.generator.w_avg.expand(1, model.generator.num_ws, -1).clone(), features)
    moved = move_codes(model.generator, codes, plan_moves([directions], {"yaw": 2.0}))
    assert torch.equal(moved.features, edited_codes(model.generator, codes, moved.w_plus, local=True).features)
    assert not torch.allclose(moved.features, features, atol=0.01)
    still = move_codes(model.generator, codes, plan_moves([directions], {"yaw": 0.0}))
    assert torch.equal(still.features, features)


def test_codes_with_features_move_by_the_change_of_the_features(model, directions):
    random = torch.Generator().manual_seed(3)
    change = torch.randn(model.generator.synthesis.feature_channels[8], 8, 8, generator=random)
    known = replace(directions, features={"smile": change})
    w_plus = model.generator.w_avg.expand(1, model.generator.num_ws, -1).clone()
    codes = Codes(w_plus, torch.randn(1, *change.shape, generator=random))
    [smile] = moves = plan_moves([known], {"smile": 2.0})
    moved = move_codes(model.generator, codes, moves)
    assert torch.equal(moved.w_plus, w_plus)
    torch.testing.assert_close(moved.features, codes.features + 2 * change)
    assert smile.warning(moved) is None
    assert "changes the features by +5.0" in replace(smile, strength=5.0).warning(moved)
    back = move_codes(model.generator, moved, plan_moves([known], {"smile": -2.0}))
    torch.testing.assert_close(back.features, codes.features)

    both = move_codes(model.generator, codes, plan_moves([known], {"smile": 2.0, "yaw": 1.0}))
    turned = move_codes(model.generator, codes, plan_moves([known], {"yaw": 1.0}))
    assert torch.equal(both.w_plus, turned.w_plus)
    torch.testing.assert_close(both.features, turned.features + 2 * change)


def test_codes_without_such_features_move_in_w_plus(model, directions):
    known = replace(directions, features={"smile": torch.ones(5, 4, 4)})
    w_plus = model.generator.w_avg.expand(1, model.generator.num_ws, -1).clone()
    of_another_size = torch.ones(1, model.generator.synthesis.feature_channels[8], 8, 8)
    for features in (None, of_another_size):
        [move] = plan_moves([known], {"smile": 1.0})
        moved = move_codes(model.generator, Codes(w_plus, features), [move])
        assert torch.equal(moved.w_plus, move(w_plus))


def test_faces_are_laid_back_and_the_rest_of_the_photo_stays(portraits):
    photo, found = portraits
    red = np.zeros((SIDE, SIDE, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    result = paste_back_portraits(photo, found[:1], [red])
    assert result.shape == photo.shape
    assert (result[36, 40] == [255, 0, 0]).all()  # amid the face
    assert (result[-1] == photo[-1]).all()
    gray = np.full((SIDE, SIDE, 1), 7, np.uint8)
    assert (paste_back_portraits(photo, found[:1], [gray])[36, 40] == 7).all()
    with pytest.raises(ValueError, match="cannot be pasted back"):
        paste_back_portraits(photo, [replace(found[0], crop=None)], [red])


def test_who_goes_too_far_is_told(model, directions, portraits):
    _, found = portraits
    _, none = edit_portraits(model, found, plan_moves([directions], {"yaw": 0.0}))
    _, told = edit_portraits(model, found, plan_moves([directions], {"yaw": 9.0}))
    assert none == []
    assert "yaw ends at +" in told[0]
    assert "beyond the generator's samples" in told[0]


def test_unknown_directions_are_named(directions):
    with pytest.raises(UserError, match="there is no direction 'beard'; there are smile, yaw"):
        plan_moves([directions], {"smile": 1.0, "beard": 1.0})


def test_the_first_file_that_has_a_name_gives_it(directions):
    other = replace(directions, vectors=-directions.vectors)
    assert plan_moves([directions, other], {"smile": 1.0})[0].directions is directions


def test_directions_come_from_files_or_with_the_generator(model, directions, tmp_path):
    save_directions(tmp_path / "d.safetensors", directions, {})
    np.save(tmp_path / "age.npy", np.ones((1, W_DIM), np.float32))
    found = find_directions(model.generator, [tmp_path / "d.safetensors", tmp_path / "age.npy"])
    assert [source.names for source in found] == [("smile", "yaw"), ("age",)]
    with pytest.raises(UserError, match="no directions of this generator come with the package"):
        find_directions(model.generator)
