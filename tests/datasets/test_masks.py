"""Holes of every kind, and known pixels that are pasted over a result."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.masks import MASKS, halves, paste_known, rectangles

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


def test_known_pixels_are_the_pictures_and_the_hole_is_the_results():
    result, picture = np.full((32, 32, 3), 10, np.uint8), np.full((32, 32, 3), 200, np.uint8)
    hole = np.zeros((8, 8), bool)
    hole[2:5, 3:6] = True
    pasted = paste_known(result, picture, hole)
    assert np.all(pasted[8:20, 12:24] == 10)
    far = np.ones((32, 32), bool)
    far[2:26, 6:30] = False  # a pixel of the hole around it, and as much again to blend
    assert np.all(pasted[far] == 200)
    same_size = paste_known(result, picture, np.kron(hole, np.ones((4, 4), bool)))
    assert np.all(same_size[8:20, 12:24] == 10)
    assert (same_size == 10).all(2).sum() == 14 * 14  # the hole, and a pixel more on each side
    assert np.array_equal(paste_known(result, picture, np.zeros((8, 8), bool)), picture)
