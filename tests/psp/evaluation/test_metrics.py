"""Metrics by name, and overlaps of labels where a segmenter finds them again."""

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import structural_similarity
from torch import nn

from psp.evaluation.metrics import Metrics, build_metrics, label_ids, ms_ssim, ms_ssim_label, pick_segmenter
from psp.evaluation.per_image import means, overall
from psp.losses.l2 import L2
from psp.perception.segmenter import DEFAULT, Segmenter, save_segmenter
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import resize


class Distance(nn.Module):
    """A known number for each sample: the mean of the output."""

    inputs = ("output", "target")

    def __init__(self, name):
        super().__init__()
        self.name = name
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, output, target):
        return self.weight * output.mean([1, 2, 3])  # [N]


def test_measures_each_sample_on_the_clamped_output():
    metrics = Metrics(Distance("p"), Distance("q"))
    output, target = torch.randn(4, 3, 8, 8) * 2, torch.rand(4, 3, 8, 8) * 2 - 1
    values = metrics.reconstruction(output, target)
    clamped = output.double().clamp(-1, 1)
    expected = torch.stack([(clamped[n] - target[n].double()).square().mean() for n in range(4)])
    torch.testing.assert_close(values["mse"].double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(values["perceptual"].double(), clamped.mean([1, 2, 3]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(values["identity"], 1 - values["perceptual"])
    assert not any(value.requires_grad for value in values.values())


def test_numbers_carry_the_name_of_their_network():
    metrics = Metrics(Distance("effnet"), Distance("id_dlib"))
    assert metrics.networks == {"perceptual": "effnet", "identity": "id_dlib"}
    assert metrics.title("perceptual") == "perceptual (effnet)"
    assert metrics.title("identity") == "identity (id_dlib)"
    assert metrics.title("mse") == "mse"


def test_meters_are_frozen():
    metrics = Metrics(Distance("p").train(), L2())
    assert not metrics.perceptual.training
    assert not any(parameter.requires_grad for parameter in metrics.parameters())


def test_the_real_networks_know_an_image_again():
    metrics = build_metrics(perceptual={"network": "effnet"}, id={"network": "dlib"})
    assert metrics.networks == {"perceptual": "effnet", "identity": "id_dlib"}
    target = torch.rand(1, 3, 64, 64) * 2 - 1
    same, other = (metrics.reconstruction(image, target) for image in (target, target.flip(3) * 0.3))
    assert (same["mse"].item(), same["perceptual"].item()) == (0.0, 0.0)
    assert same["identity"].item() == pytest.approx(1.0, abs=1e-5)
    assert other["perceptual"] > 0.05
    assert other["identity"] < 0.99


# --- labels ---


class Bands(nn.Module):
    """Finds label 0 where an image is dark and 2 where it is bright."""

    name, label_nc, resolution = "bands", 4, 8

    def segment(self, images):
        return (images[:, 0, ::2, ::2] > 0).long() * 2


def one_hot(ids):
    return nn.functional.one_hot(ids, 4).permute(0, 3, 1, 2).float()  # [N, 4, S, S]


def test_every_metric_is_named_and_of_each_image(metrics, images):
    output, target = images(3) * 2, images(3)
    values = metrics(output, torch.zeros(3, 3, 32, 32), target)
    assert list(values) == ["mse", "perceptual", "identity", "ms_ssim"]
    assert all(value.shape == (3,) for value in values.values())
    torch.testing.assert_close(values["mse"], (output.clamp(-1, 1) - target).square().mean([1, 2, 3]))
    torch.testing.assert_close(values["ms_ssim"], ms_ssim(output, target))
    titles = metrics.titles(16)
    assert titles["perceptual"] == metrics.title("perceptual") == "perceptual (effnet)"
    assert titles["ms_ssim"] == "MS-SSIM (1 of 5 scales)"
    assert metrics.title("mse") == "mse"
    assert metrics.networks == {"perceptual": "effnet", "identity": "id_dlib"}


def test_labels_are_found_again(metrics):
    metrics = Metrics(metrics.perceptual, metrics.identity, Bands())
    truth = torch.zeros(2, 16, 16, dtype=torch.long)
    truth[:, :8] = 2  # the upper half
    truth[1, 12:] = 1
    output = torch.full((2, 3, 16, 16), -0.5)
    output[0, :, :4] = 0.5  # half of it found
    output[1, :, :8] = 0.5  # all of it
    values = {name: value.numpy() for name, value in metrics(output, one_hot(truth), output).items()}
    assert values["intersection"].tolist() == [[32, 0, 16, 0], [16, 0, 32, 0]]
    assert values["union"].tolist() == [[48, 0, 32, 0], [32, 16, 32, 0]]
    seconds = {"seconds_per_image": np.ones(2, np.float32)}
    # Label 3 is nowhere; label 1 is there and was not found.
    expected = np.mean([48 / 80, 0 / 16, 48 / 64])
    assert means({**values, **seconds})["miou"] == pytest.approx(expected)
    assert list(means({**values, **seconds}))[-2:] == ["miou", "seconds_per_image"]
    assert metrics.titles(16)["miou"] == "mIoU (bands)"
    assert metrics.networks["segmenter"] == "bands"


def test_miou_of_groups_is_that_of_all_their_images():
    part = {"intersection": np.array([[1, 2]]), "union": np.array([[4, 2]]), "seconds_per_image": np.ones(1)}
    other = {"intersection": np.array([[3, 0]]), "union": np.array([[4, 2]]), "seconds_per_image": np.zeros(1)}
    found = overall([part, other])
    assert found == {"miou": pytest.approx((4 / 8 + 2 / 4) / 2), "seconds_per_image": 0.5}


@pytest.mark.parametrize("size", [4, 8, 16])
def test_label_maps_keep_their_labels_at_any_size(size):
    ids = torch.randint(0, 4, (2, 4, 4))
    maps = one_hot(ids.repeat_interleave(2, 1).repeat_interleave(2, 2))  # [2, 4, 8, 8]
    expected = ids.repeat_interleave(size // 4, 1).repeat_interleave(size // 4, 2)
    assert torch.equal(label_ids(maps, size), expected)


def test_a_segmenter_of_other_labels_is_left_out(tmp_path, capsys):
    assert pick_segmenter(None, 19).name == DEFAULT
    assert pick_segmenter(None, 5) is None
    assert f"{DEFAULT} knows 19 labels but the model 5, so mIoU is left out" in capsys.readouterr().out
    save_segmenter(tmp_path / "mine.safetensors", Segmenter(5, 16, (4, 4)), {})
    assert pick_segmenter(str(tmp_path / "mine.safetensors"), 5).name == "mine"


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
