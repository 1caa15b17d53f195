"""Masks by name and number, and the formula of style mixing."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stylegan2.latents.mixing import BANDS, lerp, mask_rows, mix, path, slerp
from stylegan2.runtime.errors import UserError


def test_names_are_the_published_rows_at_1024():
    assert mask_rows("fine", 18) == list(range(8, 18))
    assert mask_rows("medium", 18) == [4, 5, 6, 7]
    assert mask_rows("coarse", 18) == [0, 1, 2, 3]


@given(st.integers(3, 9).map(lambda k: 2 * k))
def test_names_divide_the_rows_of_every_generator(num_ws):
    bands = [mask_rows(name, num_ws) for name in BANDS]
    assert all(bands)
    assert [row for band in bands for row in band] == list(range(num_ws))
    assert abs(len(bands[2]) / num_ws - 10 / 18) <= 0.5 / num_ws


@pytest.mark.parametrize(
    ("mask", "rows"),
    [
        ("8-9", [8, 9]),
        ("3", [3]),
        ("5,3, 4 ,3", [3, 4, 5]),
        ("Fine,0", [0, 4, 5, 6, 7, 8, 9]),
        ("0-2,8-9", [0, 1, 2, 8, 9]),
        ("coarse,medium,fine", list(range(10))),
    ],
)
def test_numbers_and_ranges(mask, rows):
    assert mask_rows(mask, 10) == rows


@pytest.mark.parametrize("mask", ["8-17", "10", "fine,10", "9-10"])
def test_rows_that_the_generator_has_not(mask):
    with pytest.raises(UserError, match="the rows of this generator are 0 to 9"):
        mask_rows(mask, 10)


@pytest.mark.parametrize("mask", ["", "rough", "9-8", "-3", "1..3", "2,", "fine medium", "٣-", "1-2-3"])
def test_masks_that_mean_nothing(mask):
    with pytest.raises(UserError, match="the latent mask must be"):
        mask_rows(mask, 10)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_masked_rows_are_blended_and_the_others_left(alpha):
    w_plus, styles = torch.randn(2, 6, 4), torch.randn(3, 4)
    before = w_plus.clone()
    mixed = mix(w_plus, styles, [1, 4], alpha)
    assert torch.equal(w_plus, before)
    for n in range(2):
        for k in range(3):
            for row in range(6):
                expected = alpha * styles[k] + (1 - alpha) * w_plus[n, row] if row in (1, 4) else w_plus[n, row]
                torch.testing.assert_close(mixed[n, k, row], expected)


def rotate(a, b, t):
    """From a towards b by the share t of their angle, in float64, by Gram-Schmidt and a rotation in their plane."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    first, other = a / np.linalg.norm(a), b / np.linalg.norm(b)
    angle = math.acos(np.clip(first @ other, -1, 1))
    second = other - (other @ first) * first
    second /= np.linalg.norm(second)
    length = (1 - t) * np.linalg.norm(a) + t * np.linalg.norm(b)
    return length * (math.cos(t * angle) * first + math.sin(t * angle) * second)


@given(st.integers(0, 1000), st.floats(0, 1))
def test_slerp_is_a_rotation_in_the_plane_of_both(seed, t):
    a, b = np.random.default_rng(seed).normal(size=(2, 6))
    found = slerp(torch.from_numpy(a), torch.from_numpy(b), t)
    np.testing.assert_allclose(found.numpy(), rotate(a, b, t), atol=1e-7)


def test_slerp_moves_at_constant_speed_on_the_sphere():
    a, b = torch.nn.functional.normalize(torch.randn(2, 32, dtype=torch.float64), dim=-1)
    points = torch.stack([slerp(a, b, t / 10) for t in range(11)])
    torch.testing.assert_close(points.norm(dim=-1), torch.ones(11, dtype=torch.float64))
    steps = (points[1:] - points[:-1]).norm(dim=-1)
    torch.testing.assert_close(steps, steps[:1].expand(10))
    assert (points[5] - lerp(a, b, 0.5)).norm() > 0.1


def test_slerp_of_close_and_equal_vectors_is_exact():
    a = torch.randn(4, 16)
    b = a + 1e-5 * torch.randn(4, 16)
    torch.testing.assert_close(slerp(a, b, 0.3), lerp(a, b, 0.3), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(slerp(a, 2 * a, 0.5), 1.5 * a)
    assert slerp(a, -a, 0.5).isfinite().all()


def test_every_row_has_its_own_place():
    a, b, t = torch.randn(5, 3), torch.randn(5, 3), torch.rand(5, 1)
    for between in (lerp, slerp):
        rows = torch.stack([between(a[k], b[k], t[k]) for k in range(5)])
        torch.testing.assert_close(between(a, b, t), rows)
        torch.testing.assert_close(between(a, b, torch.zeros(5, 1)), a)
        torch.testing.assert_close(between(a, b, torch.ones(5, 1)), b)


@pytest.mark.parametrize("between", [lerp, slerp])
def test_a_closed_path_returns_and_an_open_one_ends(between):
    keys = torch.randn(3, 8)
    closed, open_ = path(keys, 4, between), path(keys, 4, between, closed=False)
    assert (len(closed), len(open_)) == (12, 9)
    torch.testing.assert_close(closed[::4], keys)
    torch.testing.assert_close(open_[::4], keys)
    torch.testing.assert_close(closed[:8], open_[:8])
    torch.testing.assert_close(closed[11], between(keys[2], keys[0], 0.75))
