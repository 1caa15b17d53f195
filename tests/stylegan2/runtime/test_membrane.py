"""Values that are spread into a hole, compared with an exact solution of Laplace's equation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array
from scipy.sparse.linalg import spsolve

from datasets.masks import MASKS
from stylegan2.runtime.membrane import fill_hole, membrane

holes = st.builds(
    lambda kind, size, seed: MASKS[kind](size, np.random.default_rng(seed)),
    st.sampled_from(sorted(MASKS)), st.sampled_from([7, 16, 33, 64]), st.integers(0, 10_000),
)  # fmt: skip


def exact(values, hole):
    """Solve Laplace's equation [H, W, C] directly; the border of the image is level."""
    number = np.full(hole.shape, -1)
    number[hole] = np.arange(hole.sum())
    matrix, right = np.zeros((hole.sum(), hole.sum())), np.zeros((hole.sum(), values.shape[2]))
    for place in zip(*np.nonzero(hole), strict=True):
        row = number[place]
        for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            other = tuple(np.add(place, step))
            if not all(0 <= o < side for o, side in zip(other, hole.shape, strict=True)):
                continue
            matrix[row, row] += 1
            if hole[other]:
                matrix[row, number[other]] -= 1
            else:
                right[row] += values[other]
    solved = values.astype(np.float64).copy()
    solved[hole] = spsolve(csc_array(matrix), right).reshape(right.shape)
    return solved


@given(holes, st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_known_values_stay_and_the_others_lie_between_them(hole, seed):
    values = np.random.default_rng(seed).normal(0, 50, (*hole.shape, 3)).astype(np.float32)
    filled = membrane(values, hole)
    assert filled.dtype == np.float32
    if hole.all():
        assert not filled.any()
        return
    assert np.array_equal(filled[~hole], values[~hole])
    known = values[~hole]
    assert np.all(filled >= known.min(0) - 1e-3)
    assert np.all(filled <= known.max(0) + 1e-3)


@given(holes, st.floats(-255, 255, width=32))
@settings(max_examples=40, deadline=None)
def test_a_constant_fills_the_hole(hole, constant):
    values = np.full((*hole.shape, 2), constant, np.float32)
    values[hole] = 1e6  # ignored
    if not hole.all():
        np.testing.assert_allclose(membrane(values, hole), constant, rtol=1e-5)


@pytest.mark.parametrize("kind", sorted(MASKS))
@pytest.mark.parametrize("size", [33, 64])
def test_it_solves_laplaces_equation(kind, size):
    rng = np.random.default_rng(size)
    slope = np.linspace(-100, 100, size)
    smooth = np.stack([np.add.outer(slope, slope), np.sin(np.add.outer(slope, -slope) / 30) * 100], 2)
    for _ in range(3):
        hole = MASKS[kind](size, rng)
        error = np.abs(membrane(smooth.astype(np.float32), hole) - exact(smooth, hole))  # of values from -200 to 200
        assert error.mean() < 4
        assert error.max() < 20


def test_an_image_without_a_hole_and_one_that_is_a_hole():
    values = np.random.default_rng(0).normal(size=(9, 14, 3)).astype(np.float32)
    assert np.array_equal(membrane(values, np.zeros((9, 14), bool)), values)
    assert not membrane(values, np.ones((9, 14), bool)).any()


def test_a_filled_picture_keeps_its_known_pixels_and_hides_the_hole():
    rng = np.random.default_rng(0)
    hole = MASKS["rectangles"](32, rng)
    picture = rng.integers(0, 100, (32, 32, 3), np.uint8)
    other = np.where(hole[..., None], np.uint8(255), picture)
    filled = fill_hole(other, hole)
    assert np.array_equal(filled, fill_hole(picture, hole))
    assert np.array_equal(filled[~hole], picture[~hole])
    assert filled.max() < 100
    assert fill_hole(picture, np.zeros((32, 32), bool)) is picture
