"""MS-SSIM against another implementation, and what to call it."""

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import structural_similarity

from psp.evaluation.ms_ssim import ms_ssim, ms_ssim_label
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import resize

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def naive_ssim(x, y):
    """Means of SSIM and of contrast times structure of two float64 planes [H, W] in [0, 1], window by window."""
    axis = np.arange(11) - 5.0
    window = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    a, b = (np.lib.stride_tricks.sliding_window_view(plane, (11, 11)) for plane in (x, y))  # [H - 10, W - 10, 11, 11]
    mean_a, mean_b = ((part * window).sum((2, 3)) for part in (a, b))
    centred_a, centred_b = a - mean_a[..., None, None], b - mean_b[..., None, None]
    var_a, var_b, cov = (
        (product * window).sum((2, 3)) for product in (centred_a**2, centred_b**2, centred_a * centred_b)
    )
    structure = (2 * cov + 0.03**2) / (var_a + var_b + 0.03**2)
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    return (luminance * structure).mean(), structure.mean()


def naive_ms_ssim(x, y, scales):
    """Of planes float64 [H, W] in [0, 1]."""
    weights, result = WEIGHTS[:scales] / WEIGHTS[:scales].sum(), 1.0
    for scale in range(scales):
        both, structure = naive_ssim(x, y)
        result *= max(both if scale == scales - 1 else structure, 0.0) ** weights[scale]
        x, y = halved(x), halved(y)
    return result


def halved(plane):
    side = len(plane) // 2
    return plane[: 2 * side, : 2 * side].reshape(side, 2, side, 2).mean((1, 3))


def a_photo_and_a_worse_one(size, noise=0.15):
    target = torch.from_numpy(resize(data.astronaut(), (size, size)).astype(np.float32) / 127.5 - 1).permute(2, 0, 1)
    return (target * 0.8 + 0.1 + noise * torch.randn(3, size, size)).clamp(-1, 1)[None], target[None]


@pytest.mark.parametrize(("size", "scales"), [(16, 1), (33, 2), (64, 3), (176, 5)])
def test_ms_ssim_is_that_of_a_naive_formula(size, scales):
    output, target = a_photo_and_a_worse_one(size)
    planes = [(image[0].double().numpy() + 1) / 2 for image in (output, target)]
    expected = np.mean([naive_ms_ssim(x, y, scales) for x, y in zip(*planes, strict=True)])
    assert ms_ssim(output, target).item() == pytest.approx(expected, abs=2e-5)
    assert 0.2 < expected < 0.99


def test_ms_ssim_of_one_scale_is_the_ssim_of_scikit_image():
    output, target = (image[..., :20, :21] for image in a_photo_and_a_worse_one(64))
    arrays = [(image[0].double().numpy() + 1) / 2 for image in (output, target)]
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = structural_similarity(*arrays, channel_axis=0, **settings)
    assert ms_ssim(output, target).item() == pytest.approx(expected, abs=2e-5)


def test_ms_ssim_is_a_value_for_each_sample():
    good, target = a_photo_and_a_worse_one(48, noise=0.05)
    bad, _ = a_photo_and_a_worse_one(48, noise=0.5)
    values = ms_ssim(torch.cat([good, bad, target, 3 * target]), target.expand(4, -1, -1, -1))
    assert values.shape == (4,)
    assert values[1] < values[0] < values[2]
    assert values[2].item() == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(values[3:], ms_ssim((3 * target).clamp(-1, 1), target))
    torch.testing.assert_close(values[:1], ms_ssim(good, target))


def test_unlike_images_have_no_negative_similarity():
    target = torch.randn(1, 3, 16, 16).clamp(-1, 1)
    assert ms_ssim(-target, target).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "label"),
    [
        (1024, "MS-SSIM"),
        (176, "MS-SSIM"),
        (175, "MS-SSIM (4 of 5 scales)"),
        (128, "MS-SSIM (4 of 5 scales)"),
        (64, "MS-SSIM (3 of 5 scales)"),
        (16, "MS-SSIM (1 of 5 scales)"),
    ],
)
def test_small_images_say_so(size, label):
    assert ms_ssim_label(size) == label


def test_images_without_room_for_the_window_are_refused():
    with pytest.raises(UserError, match="at least 11 pixels, not 10"):
        ms_ssim(torch.zeros(1, 3, 10, 12), torch.zeros(1, 3, 10, 12))
