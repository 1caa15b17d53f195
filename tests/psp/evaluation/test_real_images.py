"""Statistics of real images are computed once for each content and network."""

import os
import zipfile

import numpy as np
import pytest
import torch

from datasets.sources import images_key, open_images
from psp.evaluation.features import FeatureNetwork
from psp.evaluation.real_images import RealImages
from stylegan2.runtime.images import write_image

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
