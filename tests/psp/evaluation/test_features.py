"""Feature networks by name."""

import os
import zipfile

import numpy as np
import pytest
import torch

from datasets.sources import images_key, open_images
from psp.evaluation.features import FeatureNetwork, RealImages, effnet_side, feature_network
from psp.perception.dlib_resnet import load_dlib
from psp.perception.efficientnet_lite0 import load_efficientnet_lite0
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import write_image


def test_effnet_is_what_the_classifier_sees():
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    network = feature_network("effnet")
    with torch.no_grad():
        expected = load_efficientnet_lite0().pooled(images)
    assert expected.shape == (2, 1280)
    torch.testing.assert_close(network(images), expected)
    torch.testing.assert_close(network(images[:, :1]), network(images[:, :1].repeat(1, 3, 1, 1)))


def test_dlib_is_its_descriptor():
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    network = feature_network("dlib")
    with torch.no_grad():
        torch.testing.assert_close(network(images), load_dlib().embed(images))
    assert network.key != feature_network("effnet").key


@pytest.mark.parametrize(("side", "fed"), [(16, 64), (32, 64), (64, 64), (128, 128), (256, 224), (1024, 224)])
def test_effnet_is_fed_multiples_of_32(side, fed):
    assert effnet_side(side) == fed
    assert feature_network("effnet")(torch.zeros(1, 3, side, side)).shape == (1, 1280)


def test_an_unknown_network_is_refused():
    with pytest.raises(UserError, match="choose one of effnet, dlib, inception"):
        feature_network("vgg")


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(9):
        write_image(tmp_path / "images" / f"{i}.png", rng.integers(0, 256, (16, 16, 3)).astype(np.uint8))
    return tmp_path / "images"


def real_images(data, resolution=16, count=None):
    pixels = open_images(str(data), resolution)
    return RealImages(pixels, images_key(str(data), pixels, resolution), count or len(pixels))


class Counting:
    """Pooled colours, and how many images they were asked of."""

    def __init__(self, key="colours"):
        self.seen = 0
        self.network = FeatureNetwork("colours", "colours", key, torch.nn.Linear(1, 1), self.embed)

    def embed(self, images):
        self.seen += len(images)
        return images.mean([2, 3])


def test_what_was_computed_is_read_back(folder):
    first, second = Counting(), Counting()
    found = real_images(folder).statistics(first.network, False, 4)
    again = real_images(folder).statistics(second.network, False, 4)
    assert (first.seen, second.seen) == (9, 0)
    assert found.count == again.count == 9
    assert torch.equal(found.covariance, again.covariance)


def test_features_are_computed_when_only_statistics_were_kept(folder):
    counting = Counting()
    real = real_images(folder)
    assert real.statistics(counting.network, False, 4).kept is None
    assert real.statistics(counting.network, True, 4).kept.shape == (9, 3)
    assert counting.seen == 18
    assert real.statistics(counting.network, False, 4).count == 9  # what was kept serves both
    assert counting.seen == 18


@pytest.mark.parametrize("change", ["pixels", "time", "count", "resolution", "network"])
def test_anything_else_is_computed(folder, change):
    counting = Counting()
    real_images(folder).statistics(counting.network, False, 4)
    if change == "pixels":
        write_image(folder / "3.png", np.full((16, 16, 3), (9, 99, 199), np.uint8))
    if change == "time":  # as of another picture whose file is as long
        os.utime(folder / "3.png", ns=(0, 0))
    other = Counting("other" if change == "network" else "colours")
    count, resolution = (5 if change == "count" else None), (32 if change == "resolution" else 16)
    real_images(folder, resolution, count).statistics(other.network, False, 4)
    assert other.seen == (5 if change == "count" else 9)


def test_a_zip_is_known_by_its_content(folder, tmp_path):
    def pack(name, files):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file in files:
                archive.write(folder / file, file)
        return real_images(tmp_path / name).key

    assert pack("a.zip", ["0.png", "1.png"]) == pack("b.zip", ["0.png", "1.png"])
    assert pack("a.zip", ["0.png", "1.png"]) != pack("b.zip", ["0.png", "2.png"])


def test_a_damaged_file_is_made_again(folder, tmp_path):
    counting = Counting()
    real = real_images(folder)
    real.statistics(counting.network, False, 4)
    (kept,) = (tmp_path / "cache" / "psp").glob("features-*.safetensors")
    kept.write_bytes(b"no")
    assert real.statistics(counting.network, False, 4).count == 9
    assert counting.seen == 18


def test_only_the_first_images_are_measured_against():
    assert len(real_images("synthetic", 32, 12)) == 12
    assert real_images("synthetic", 32, 12).key != real_images("synthetic", 32, 13).key
