"""Masks by name and number, and the formula of style mixing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stylegan2.latents.mixing import BANDS, mask_rows, mix
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
