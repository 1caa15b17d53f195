"""Perceptual path length of a linear generator, where it is known by formula."""

import numpy as np
import pytest
import torch

from stylegan2.latents.mixing import slerp
from stylegan2.metrics.ppl import face, mean_without_outliers, path_lengths
from stylegan2.metrics.samples import latents, prepare
from stylegan2.networks.layers import normalize_2nd_moment
from stylegan2.runtime.errors import UserError


def ends(generator, count, seed=0):
    return (normalize_2nd_moment(latents(generator, count, seed, stream)).double() for stream in (0, 1))


@pytest.mark.parametrize("sampling", ["full", "end"])
def test_along_a_line_in_w(toy, squared_distance, sampling):
    """Images move by A (w1 - w0) per unit of t, everywhere: the length is |A (w1 - w0)|^2."""
    found = path_lengths(toy, squared_distance, 40, "w", sampling, batch_size=16)
    a, b = ends(toy, 40)
    expected = ((b - a) @ toy.matrix.double()).square().sum(1)
    torch.testing.assert_close(found, expected, rtol=5e-3, atol=0)
    assert set(toy.noise_modes) == {"const"}


@pytest.mark.parametrize("sampling", ["full", "end"])
def test_along_a_circle_in_z(toy, squared_distance, sampling):
    """With an orthonormal matrix the image moves at the speed of z: angle times radius."""
    toy.matrix.data = torch.linalg.qr(toy.matrix.T).Q.T.contiguous()
    found = path_lengths(toy, squared_distance, 40, "z", sampling)
    a, b = ends(toy, 40)
    angle = torch.acos((a * b).sum(1) / 16)
    torch.testing.assert_close(found, angle.square() * 16, rtol=5e-3, atol=0)


def test_in_z_the_middle_of_a_path_counts(toy, squared_distance):
    """ "full" looks along the circle: a matrix that sees one axis alone gives other lengths there than at its start."""
    toy.matrix.data = torch.zeros(16, 768)
    toy.matrix.data[0, 0] = 1
    full, end = (path_lengths(toy, squared_distance, 200, "z", sampling) for sampling in ("full", "end"))
    a, b = ends(toy, 200)
    step = slerp(a, b, torch.full((200, 1), 1e-4, dtype=torch.float64)) - a
    torch.testing.assert_close(end, (step[:, 0] / 1e-4).square(), rtol=0.02, atol=0.02)
    assert not torch.allclose(full, end, rtol=0.5)


def test_the_mean_is_the_trace_of_the_metric(toy, squared_distance):
    """E |A (w1 - w0)|^2 = 2 tr(A A^T) for latents of unit second moment, up to the error of 4,000 draws."""
    found = path_lengths(toy, squared_distance, 4000, "w", batch_size=500)
    assert float(found.mean()) == pytest.approx(2 * float(toy.matrix.square().sum()), rel=0.02)


def test_truncation_shortens_paths(toy, squared_distance):
    whole, half = (path_lengths(toy, squared_distance, 10, truncation_psi=psi) for psi in (1.0, 0.5))
    torch.testing.assert_close(half, whole / 4, rtol=5e-3, atol=0)


def test_a_seed_gives_the_same_paths_whatever_the_batch(toy, squared_distance):
    first = path_lengths(toy, squared_distance, 10, batch_size=3, seed=4)
    torch.testing.assert_close(first, path_lengths(toy, squared_distance, 10, batch_size=10, seed=4), rtol=1e-2, atol=0)
    assert not torch.allclose(first, path_lengths(toy, squared_distance, 10, seed=5), rtol=0.1)


def test_a_crop_sees_the_face_alone(toy):
    picture = torch.zeros(1, 3, 16, 16)
    picture[:, :, 6:14, 4:12] = 1
    assert face(picture).shape == (1, 3, 8, 8)
    assert face(picture).min() == 1
    toy.matrix.data = picture.reshape(1, -1).repeat(16, 1).sub(1)  # it changes outside of the face only
    inside = path_lengths(toy, lambda a, b: (a - b).square().sum([1, 2, 3]), 5, crop=True)
    assert inside.max() == 0


@pytest.mark.parametrize("count", [100, 1000, 1234])
def test_outliers_are_the_papers(count):
    lengths = torch.rand(count).double() ** 8
    low = np.percentile(lengths, 1, method="lower")
    high = np.percentile(lengths, 99, method="higher")
    expected = lengths[(lengths >= low) & (lengths <= high)].mean()
    assert mean_without_outliers(lengths[torch.randperm(count)]) == pytest.approx(float(expected), rel=1e-12)


def test_large_images_are_averaged_to_256(toy):
    picture = torch.rand(1, 1, 512, 512)
    small = prepare(picture)
    assert small.shape == (1, 3, 256, 256)
    assert float(small[0, 2, 0, 0]) == pytest.approx(float(picture[0, 0, :2, :2].mean()))


def test_another_space_is_refused(toy, squared_distance):
    with pytest.raises(UserError, match="choose one of ppl_z_full"):
        path_lengths(toy, squared_distance, 4, space="w_plus")
