"""Metrics by name, and overlaps of labels where a segmenter finds them again."""

import numpy as np
import pytest
import torch
from torch import nn

from psp.evaluation import Gauge
from psp.evaluation.gauge import label_ids
from psp.evaluation.metrics import ms_ssim
from psp.evaluation.report import means, overall


class Bands(nn.Module):
    """Finds label 0 where an image is dark and 2 where it is bright."""

    name, label_nc, resolution = "bands", 4, 8

    def segment(self, images):
        return (images[:, 0, ::2, ::2] > 0).long() * 2


def one_hot(ids):
    return nn.functional.one_hot(ids, 4).permute(0, 3, 1, 2).float()  # [N, 4, S, S]


def test_every_metric_is_named_and_of_each_image(meters, images):
    gauge = Gauge(meters, 16)
    output, target = images(3) * 2, images(3)
    values = gauge(output, torch.zeros(3, 3, 32, 32), target)
    assert list(values) == ["mse", "perceptual", "identity", "ms_ssim"]
    assert all(value.shape == (3,) for value in values.values())
    torch.testing.assert_close(values["mse"], (output.clamp(-1, 1) - target).square().mean([1, 2, 3]))
    torch.testing.assert_close(values["ms_ssim"], ms_ssim(output, target))
    assert gauge.labels["perceptual"] == "perceptual (effnet)"
    assert gauge.labels["ms_ssim"] == "MS-SSIM (1 of 5 scales)"
    assert gauge.networks == gauge.key() == {"perceptual": "effnet", "identity": "id_dlib"}


def test_labels_are_found_again(meters):
    gauge = Gauge(meters, 16, Bands())
    truth = torch.zeros(2, 16, 16, dtype=torch.long)
    truth[:, :8] = 2  # the upper half
    truth[1, 12:] = 1
    output = torch.full((2, 3, 16, 16), -0.5)
    output[0, :, :4] = 0.5  # half of it found
    output[1, :, :8] = 0.5  # all of it
    values = {name: value.numpy() for name, value in gauge(output, one_hot(truth), output).items()}
    assert values["intersection"].tolist() == [[32, 0, 16, 0], [16, 0, 32, 0]]
    assert values["union"].tolist() == [[48, 0, 32, 0], [32, 16, 32, 0]]
    seconds = {"seconds_per_image": np.ones(2, np.float32)}
    # Label 3 is nowhere; label 1 is there and was not found.
    expected = np.mean([48 / 80, 0 / 16, 48 / 64])
    assert means({**values, **seconds})["miou"] == pytest.approx(expected)
    assert list(means({**values, **seconds}))[-2:] == ["miou", "seconds_per_image"]
    assert gauge.labels["miou"] == "mIoU (bands)"
    assert gauge.key()["segmenter"] == "bands"


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
