"""Holes of every kind, and known pixels that are pasted over a result."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter

from datasets.masks import MASKS, halves, paste_known, rectangles
from stylegan2.runtime.pixels import resize

kinds = pytest.mark.parametrize("kind", sorted(MASKS))


@kinds
@given(st.sampled_from([32, 64, 100, 256]), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_holes_are_a_function_of_the_generator_and_never_all_or_nothing(kind, size, seed):
    hole, again = (MASKS[kind](size, np.random.default_rng(seed)) for _ in range(2))
    assert hole.dtype == bool
    assert hole.shape == (size, size)
    assert np.array_equal(hole, again)
    assert 0.005 < hole.mean() < 0.9


@kinds
def test_holes_differ(kind):
    rng = np.random.default_rng(0)
    holes = {MASKS[kind](32, rng).tobytes() for _ in range(40)}
    assert len(holes) >= (4 if kind == "halves" else 38)


@kinds
def test_a_kind_covers_the_same_share_at_every_resolution(kind):
    shares = [np.mean([MASKS[kind](size, np.random.default_rng(n)) for n in range(150)]) for size in (32, 128)]
    assert shares[0] == pytest.approx(shares[1], rel=0.08)
    assert 0.05 < shares[0] < 0.6


def test_halves_are_exact_and_of_all_four_sides():
    drawn = {halves(8, np.random.default_rng(n)).tobytes() for n in range(30)}
    upper = np.zeros((8, 8), bool)
    upper[:4] = True
    assert drawn == {np.rot90(upper, k).tobytes() for k in range(4)}


def test_rectangles_reach_every_pixel():
    rng = np.random.default_rng(1)
    assert np.any([rectangles(16, rng) for _ in range(300)], axis=0).all()


@kinds
@given(st.sampled_from([(16, 16), (16, 64), (64, 32)]), st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_known_pixels_stay_as_they_are(kind, sizes, seed):
    rng = np.random.default_rng(seed)
    hole = MASKS[kind](sizes[0], rng)
    result, picture = rng.integers(0, 256, (2, sizes[1], sizes[1], 3), np.uint8)
    before = picture.copy()
    pasted = paste_known(result, picture, hole)
    known = resize((~maximum_filter(hole, 3)).astype(np.uint8), (sizes[1], sizes[1])) == 1
    assert np.array_equal(pasted[known], picture[known])
    assert np.array_equal(picture, before)


@kinds
@given(st.integers(0, 10_000), st.integers(-40, 40))
@settings(max_examples=20, deadline=None)
def test_a_constant_difference_is_removed(kind, seed, difference):
    """A result that is right but for its brightness leaves no seam."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(40, 216, (32, 32, 3), np.uint8)
    result = (picture.astype(int) + difference).astype(np.uint8)
    assert np.array_equal(paste_known(result, picture, MASKS[kind](16, rng)), picture)


def test_the_hole_is_the_results_where_it_fits_the_known_pixels():
    result, picture = np.full((32, 32, 3), 90, np.uint8), np.full((32, 32, 3), 90, np.uint8)
    result[12:16, 16:20] = 200
    hole = np.zeros((8, 8), bool)
    hole[2:5, 3:6] = True
    assert np.array_equal(paste_known(result, picture, hole), result)
    assert np.array_equal(paste_known(result, picture, np.zeros((8, 8), bool)), picture)
    everything = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(paste_known(everything, picture, np.ones((8, 8), bool)), everything)


def test_a_seam_at_the_border_of_the_picture_is_removed():
    """The difference at the only known side reaches the whole half."""
    picture, result = np.full((32, 32, 3), 150, np.uint8), np.full((32, 32, 3), 130, np.uint8)
    assert np.array_equal(paste_known(result, picture, halves(32, np.random.default_rng(0))), picture)


def test_results_that_get_too_dark_are_black():
    picture, result = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 50, np.uint8)
    result[8, 8] = 20
    hole = np.zeros((16, 16), bool)
    hole[4:12, 4:12] = True
    assert not paste_known(result, picture, hole).any()


def test_what_the_picture_shows_in_the_hole_does_not_reach_the_known_pixels():
    """A larger picture with a gray hole is reduced: its pixels beside the hole stay those of the photo."""
    photo, hole = np.full((64, 64, 3), 200, np.uint8), np.zeros((16, 16), bool)
    hole[4:9, 5:12] = True
    seen = np.where(np.kron(hole, np.ones((4, 4), bool))[..., None], np.uint8(128), photo)
    result = np.full((32, 32, 3), 190, np.uint8)
    assert np.array_equal(paste_known(result, seen, hole), np.full((32, 32, 3), 200, np.uint8))
