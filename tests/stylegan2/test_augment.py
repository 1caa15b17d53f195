"""Augmentation against numpy, scipy and closed forms; its frequencies and widths; the controller."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch.autograd import gradcheck, gradgradcheck

from stylegan2 import augment as module
from stylegan2.augment import (
    BLIT,
    COLOUR,
    GEOMETRIC,
    PIPELINES,
    SYM6,
    Augmentation,
    Controller,
    adapt,
    apply,
    augment,
    draw,
    move,
    next_p,
    observe,
    recolour,
)
from stylegan2.runtime.errors import UserError

GREY_AXIS = np.ones(3) / math.sqrt(3)


def noise(count=2, channels=3, side=16):
    return torch.rand(count, channels, side, side, dtype=torch.float64) * 2 - 1


def smooth(side=64, count=1):
    """Images without fine detail, which every good interpolation agrees on."""
    rng = np.random.default_rng(0)
    arrays = ndimage.gaussian_filter(rng.normal(size=(count, 3, side, side)), (0, 0, 4, 4), mode="mirror")
    return torch.from_numpy(arrays / np.abs(arrays).max())


def moved(place):
    """The matrix as `move` takes it, for one image."""
    return torch.as_tensor(np.asarray(place), dtype=torch.float64)[None]


def shifted(x, y):
    return moved([[1, 0, x], [0, 1, y], [0, 0, 1]])


# --- what leaves images as they are ---


def test_at_p_0_images_return_as_they_are():
    images = noise()
    assert augment(images, 0.0) is images


@pytest.mark.parametrize("side", [4, 16, 32])
def test_up_and_down_again_loses_nothing(side):
    images = noise(side=side)
    found = augment(images, 1.0, ())
    torch.testing.assert_close(found, images, rtol=0, atol=1e-10)
    assert not torch.equal(move(images, shifted(0.5, 0).expand(2, 3, 3)), images)
    torch.testing.assert_close(augment(images.float(), 1.0, ()), images.float(), rtol=0, atol=2e-5)


def test_the_filter_is_an_orthogonal_wavelet_s_with_six_vanishing_moments():
    h, n = np.array(SYM6), np.arange(12)
    assert h.sum() == pytest.approx(math.sqrt(2), abs=1e-12)
    for lag in range(6):
        assert h[2 * lag :] @ h[: 12 - 2 * lag] == pytest.approx(float(lag == 0), abs=1e-12)
    for moment in range(6):
        assert ((-1.0) ** n * h) @ (n / 11.0) ** moment == pytest.approx(0, abs=1e-9)
    assert abs(((-1.0) ** n * h) @ (n / 11.0) ** 6) > 1e-4


# --- blitting ---


def test_flips_are_exact_and_half_of_the_chosen():
    images = noise(1).expand(400, -1, -1, -1)
    found = augment(images, 1.0, ("x_flip",)).numpy()
    plain = np.abs(found - images.numpy()).max((1, 2, 3)) < 1e-10
    flipped = np.abs(found - images.numpy()[..., ::-1]).max((1, 2, 3)) < 1e-10
    assert (plain != flipped).all()
    assert 150 < flipped.sum() < 250


def test_quarter_turns_are_exact_and_equally_frequent():
    images = noise(1).expand(400, -1, -1, -1)
    found = augment(images, 1.0, ("rotate_90",)).numpy()
    turned = [np.abs(found - np.rot90(images.numpy(), k, (2, 3))).max((1, 2, 3)) < 1e-10 for k in range(4)]
    assert (np.sum(turned, 0) == 1).all()
    assert all(60 < which.sum() < 140 for which in turned)


def test_integer_shifts_move_whole_pixels_and_reflect():
    images = noise(1, side=32).expand(50, -1, -1, -1)
    places = draw(50, 32, 1.0, ("integer_shift",)).place
    found = move(images, places).numpy()
    padded = np.pad(images[0].numpy(), ((0, 0), (4, 4), (4, 4)), mode="reflect")
    seen = set()
    for image, place in zip(found, places, strict=True):
        x, y = round(place[0, 2].item()), round(place[1, 2].item())
        np.testing.assert_allclose(image, padded[:, 4 - y : 36 - y, 4 - x : 36 - x], atol=1e-10)
        seen |= {x, y}
    assert seen == set(range(-4, 5))  # an eighth of the side each way


def test_reflection_has_no_end():
    images = noise(1, side=16)
    torch.testing.assert_close(move(images, shifted(300, -60)), images, rtol=0, atol=1e-9)  # multiples of 2R - 2


# --- general geometric transforms ---


@pytest.mark.parametrize("frequency", [1, 3, 7])
def test_a_fractional_shift_of_a_cosine_is_the_shifted_cosine(frequency):
    x = torch.arange(64, dtype=torch.float64)
    wave = lambda shift: torch.cos(math.pi * frequency * (x - shift) / 63).expand(1, 1, 64, 64)  # noqa: E731
    for shift in (0.5, -2.25, 40.3):
        torch.testing.assert_close(move(wave(0), shifted(shift, 0)), wave(shift), rtol=0, atol=1e-4 * frequency**2)
        turned = move(wave(0).transpose(2, 3), shifted(0, shift))
        torch.testing.assert_close(turned.transpose(2, 3), wave(shift), rtol=0, atol=1e-4 * frequency**2)


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("transforms", [("isotropic_scale",), ("rotation",), ("anisotropic_scale",), GEOMETRIC])
def test_transforms_agree_with_scipy(side, transforms):
    images = smooth(side, 4)
    places = draw(4, side, 1.0, transforms).place
    found = move(images, places).numpy()
    centre = (side - 1) / 2
    swap = np.array([[0, 1], [1, 0]])  # scipy counts rows first
    for image, result, place in zip(images.numpy(), found, places.numpy(), strict=True):
        inverse = np.linalg.inv(place)
        matrix, shift = swap @ inverse[:2, :2] @ swap, inverse[1::-1, 2]
        offset = centre - matrix @ [centre, centre] + shift
        expected = np.stack([ndimage.affine_transform(c, matrix, offset, mode="mirror") for c in image])
        assert np.abs(expected - image).max() > 0.05
        np.testing.assert_allclose(result, expected, atol=0.03)


def test_distributions_of_the_geometry():
    count = 20_000
    place = {name: draw(count, 100, 1.0, (name,)).place for name in GEOMETRIC}
    scale = place["isotropic_scale"]
    assert torch.equal(scale[:, 0, 0], scale[:, 1, 1])
    assert scale[:, 0, 0].log2().std() == pytest.approx(0.2, rel=0.03)
    assert scale[:, 0, 0].log2().mean() == pytest.approx(0, abs=0.01)
    scale = place["anisotropic_scale"]
    torch.testing.assert_close(scale[:, 0, 0] * scale[:, 1, 1], torch.ones(count, dtype=torch.float64))
    assert scale[:, 0, 0].log2().std() == pytest.approx(0.2, rel=0.03)
    turn = place["rotation"][:, :2, :2]
    torch.testing.assert_close(turn @ turn.mT, torch.eye(2, dtype=torch.float64).expand(count, 2, 2))
    angles = torch.atan2(turn[:, 1, 0], turn[:, 0, 0])
    assert angles.abs().mean() == pytest.approx(math.pi / 2, rel=0.03)  # any angle, one as often as the other
    shift = place["fractional_shift"][:, :2, 2]
    assert shift.std(0).tolist() == pytest.approx([12.5, 12.5], rel=0.03)
    assert torch.corrcoef(shift.T)[0, 1].abs() < 0.03


# --- colour ---


def test_brightness_adds_and_contrast_multiplies():
    images = noise(3000, side=2)
    added = recolour(images, draw(3000, 2, 1.0, ("brightness",)).colour) - images
    torch.testing.assert_close(added, added[:, :1, :1, :1].expand_as(added))
    assert added[:, 0, 0, 0].std() == pytest.approx(0.2, rel=0.05)
    factor = recolour(images, draw(3000, 2, 1.0, ("contrast",)).colour) / images
    torch.testing.assert_close(factor, factor[:, :1, :1, :1].expand_as(factor))
    assert factor[:, 0, 0, 0].log2().std() == pytest.approx(0.5, rel=0.05)


def test_luma_flips_invert_brightness_and_keep_hue():
    images = noise(400, side=2)
    found = recolour(images, draw(400, 2, 1.0, ("luma_flip",)).colour)
    grey = images.mean(1, keepdim=True)
    flipped = (found - images).abs().amax((1, 2, 3)) > 1e-9
    torch.testing.assert_close(found[flipped], (images - 2 * grey)[flipped])
    assert 150 < flipped.sum() < 250


def test_hue_turns_around_the_grey_axis():
    colour = draw(2000, 2, 1.0, ("hue",)).colour
    vectors = Rotation.from_matrix(colour[:, :3, :3].numpy()).as_rotvec()
    np.testing.assert_allclose(np.cross(vectors, GREY_AXIS), 0, atol=1e-7)
    assert np.abs(vectors @ GREY_AXIS).mean() == pytest.approx(math.pi / 2, rel=0.05)
    assert (colour[:, :3, 3] == 0).all()
    images = noise(2000, side=2)
    turned = np.einsum("nij,njhw->nihw", Rotation.from_rotvec(vectors).as_matrix(), images.numpy())
    np.testing.assert_allclose(recolour(images, colour), turned, atol=1e-9)


def test_saturation_scales_the_distance_from_grey():
    images = noise(3000, side=2)
    found = recolour(images, draw(3000, 2, 1.0, ("saturation",)).colour)
    grey = images.mean(1, keepdim=True)
    factor = (found - grey) / (images - grey)
    torch.testing.assert_close(factor, factor[:, :1, :1, :1].expand_as(factor))
    assert factor[:, 0, 0, 0].log2().std() == pytest.approx(1.0, rel=0.05)


def test_colours_are_composed_in_the_paper_s_order(monkeypatch):
    """Brightness b, contrast c, luma flip, hue by half a turn, saturation s, on a colour."""
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.ones(size, dtype=torch.int64))
    monkeypatch.setattr(module, "_uniform", lambda *size: torch.ones(size, dtype=torch.float64))  # hue: pi
    monkeypatch.setattr(module, "_normal", lambda *size: torch.ones(size, dtype=torch.float64))
    rgb = np.array([0.5, -0.25, 0.125])
    found = recolour(torch.from_numpy(rgb).view(1, 3, 1, 1), draw(1, 2, 1.0, COLOUR).colour).flatten()
    value = (rgb + 0.2) * 2**0.5
    value = value - 2 * value.mean()
    value = 2 * value.mean() - value
    value = value.mean() + 2.0 * (value - value.mean())
    np.testing.assert_allclose(found, value)


# --- all of them ---


def changed(name, a):
    """For each of the images, whether something of what the transform can do was drawn."""
    parts = {"x_flip": a.x_flip, "rotate_90": a.quarter_turns != 0}
    if name in parts:
        return parts[name]
    matrix = a.colour if name in COLOUR else a.place
    return (matrix != torch.eye(matrix.shape[1])).any(2).any(1)


@pytest.mark.parametrize("name", PIPELINES["bgc"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_transforms_happen_with_probability_p(name, p):
    a = draw(4000, 64, p, (name,))
    # A flip that was chosen flips half of the time; a shift may be by nothing.
    share = {"x_flip": 1 / 2, "luma_flip": 1 / 2, "rotate_90": 3 / 4, "integer_shift": 1 - 1 / 16**2}.get(name, 1.0)
    assert changed(name, a).double().mean() == pytest.approx(p * share, abs=4 * math.sqrt(p * (1 - p / 4) / 4000))
    assert not any(changed(other, a).any() for other in {"x_flip", "rotate_90"} - {name})


def test_transforms_are_independent():
    a = draw(4000, 64, 0.5)
    flips, turns = a.x_flip.double(), (a.quarter_turns != 0).double()
    assert torch.corrcoef(torch.stack([flips, turns]))[0, 1].abs() < 0.06
    unchanged = (a.place == torch.eye(3)).all(2).all(1).double().mean()
    assert unchanged == pytest.approx(0.5**5 + 0.5**5 / 256, abs=0.01)  # shift, scale, rotation, scale, shift


def test_the_mean_image_is_kept_by_geometry_and_spread_by_colour():
    images = torch.full((500, 3, 8, 8), 0.25, dtype=torch.float64)
    torch.testing.assert_close(augment(images, 1.0, BLIT + GEOMETRIC), images, rtol=0, atol=1e-9)
    found = augment(images, 1.0)
    assert found.mean().abs() < 0.05  # the luma flip makes it as often negative
    assert found.std() > 0.25


@pytest.mark.parametrize("side", [16, 32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sizes_and_channels(side, channels):
    images = torch.rand(2, channels, side, side) * 2 - 1
    found = augment(images, 0.8)
    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert not torch.equal(found, images)


def test_gray_images_are_those_of_equal_colours():
    gray, a = noise(20, 1), draw(20, 16, 1.0)
    colour = apply(gray.expand(-1, 3, -1, -1), a)
    torch.testing.assert_close(apply(gray, a), colour.mean(1, keepdim=True))
    torch.testing.assert_close(colour[:, 0], colour[:, 2])


def test_alpha_moves_with_the_image_and_keeps_its_values():
    images, a = noise(5, 4), draw(5, 16, 1.0)
    found = apply(images, a)
    torch.testing.assert_close(found[:, :3], apply(images[:, :3], a))
    torch.testing.assert_close(found[:, 3:], move(module.blit(images[:, 3:], a.x_flip, a.quarter_turns), a.place))


def test_draws_follow_the_seed_and_not_p():
    def seeded(p):
        torch.manual_seed(3)
        return draw(300, 32, p), torch.rand(1)

    (whole, after), (half, after_half) = seeded(1.0), seeded(0.5)
    assert after == after_half
    assert torch.equal(seeded(0.5)[0].place, half.place)
    common = half.x_flip
    assert 30 < common.sum() < 120
    assert whole.x_flip[common].all()


def test_part_of_a_batch_is_what_the_whole_is():
    """As processes do that share a batch: each applies its part of what was drawn for all."""
    images, a = noise(6), draw(6, 16, 1.0)
    whole = apply(images, a)
    for part in (slice(0, 2), slice(1, 6, 2)):
        assert isinstance(a[part], Augmentation)
        torch.testing.assert_close(apply(images[part], a[part]), whole[part])


def test_half_precision_images_are_augmented_in_full():
    images, a = torch.rand(2, 3, 32, 32).bfloat16(), draw(2, 32, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = apply(images, a)
    torch.testing.assert_close(found, apply(images.float(), a))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: augment(noise(channels=2), 0.5), "images of 2 channels cannot be augmented: they must have 1, 3 or 4"),
        (lambda: augment(noise(), 1.5), "the probability of augmentation must be from 0 to 1, not 1.5"),
        (lambda: augment(noise(), 0.5, ("x_flip", "cutout")), "there is no augmentation 'cutout': choose from x_flip"),
    ],
)
def test_mistakes_are_one_sentence(call, words):
    with pytest.raises(UserError, match=words):
        call()


# --- derivatives ---


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_it_is_twice_differentiable(channels):
    images, a = noise(1, channels, 4), draw(1, 4, 1.0)
    images.requires_grad_()
    assert gradcheck(lambda x: apply(x, a), images)
    assert gradgradcheck(lambda x: apply(x, a), images)


def test_the_lookup_s_transpose():
    """<A x, y> = <x, A' y>, and the derivative of A' is A."""
    x, y = noise(2, 3, 7).requires_grad_(), noise(2, 3, 5).requires_grad_()
    grid = torch.rand(2, 5, 5, 2, dtype=torch.float64) * 2 - 1
    found = module._Lookup.apply(x, grid)
    (back,) = torch.autograd.grad(found, x, y, create_graph=True)
    assert (found * y).sum().item() == pytest.approx((x * back).sum().item())
    other = noise(2, 3, 7)
    (again,) = torch.autograd.grad(back, y, other)
    torch.testing.assert_close(again, module._Lookup.apply(other, grid))


def test_the_lookup_s_transpose_in_a_fixed_order():
    """As a GPU needs it for equal results at every run; with places on the border and beyond."""
    grad, grid = noise(2, 3, 5), torch.rand(2, 5, 5, 2, dtype=torch.float64) * 2.4 - 1.2
    grid[0, 0] = 1.0
    grid[1, 0] = -1.0
    x = torch.zeros(2, 3, 7, 4, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(module._bilinear(x, grid), x, grad)
    torch.testing.assert_close(module._bilinear_adjoint(grad, grid, (7, 4)), expected)


def test_r1_reaches_the_discriminator_s_weights():
    from stylegan2.losses import r1

    weight = torch.randn(1, 3, 3, 3, requires_grad=True)
    images = noise(4).float().requires_grad_()
    logits = torch.nn.functional.conv2d(augment(images, 0.9), weight).square().mean([2, 3])  # [N, 1]
    r1(logits, images).mean().backward()
    assert weight.grad is not None
    assert weight.grad.abs().min() > 0


# --- the controller ---


def test_p_follows_the_signs_at_the_paper_s_speed():
    assert next_p(0.0, 0.9, 5_000) == pytest.approx(0.01)
    assert next_p(0.5, 0.3, 5_000) == pytest.approx(0.49)
    assert next_p(0.5, 0.6, 5_000) == 0.5
    assert next_p(0.0, -1.0, 5_000) == 0.0
    assert next_p(1.0, 1.0, 5_000) == 1.0
    assert next_p(0.2, 1.0, 100, target=0.5, ramp_nimg=1_000) == pytest.approx(0.3)


def test_p_goes_from_0_to_1_in_500_000_images():
    controller, shown = Controller(), 0
    while controller.p < 1:
        controller, shown = adapt(observe(controller, torch.tensor(1.0), 100)), shown + 100
    assert shown == pytest.approx(500_000, abs=400)


def test_p_changes_every_four_batches_by_the_mean_over_all_of_them():
    controller, history = Controller(p=0.5), []
    for sign, size in [(1.0, 10), (1.0, 10), (-1.0, 30), (1.0, 10), (1.0, 1), (0.0, 1), (1.0, 1), (1.0, 1)]:
        controller = adapt(observe(controller, torch.tensor(sign), size))
        history.append(controller.p)
    assert history[:3] == [0.5] * 3
    assert history[3] == pytest.approx(0.5 - 60 / 500_000)
    assert history[4:7] == [history[3]] * 3
    assert history[7] == pytest.approx(history[3] + 4 / 500_000)
    assert controller == Controller(history[7])


def test_the_controller_holds_p_where_overfitting_meets_its_target():
    """A discriminator whose r_t falls as p rises, with r = 0.6 at p = 0.3."""
    controller = Controller()
    for _ in range(8_000):
        controller = adapt(observe(controller, torch.tensor(0.9 - controller.p), 64))
    assert controller.p == pytest.approx(0.3, abs=0.002)
