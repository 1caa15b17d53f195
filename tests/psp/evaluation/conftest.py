"""A small model, and metrics that are arithmetic."""

import pytest
import torch

from psp.encoders import ENCODERS
from psp.evaluation.metrics import Metrics
from psp.losses.l2 import L2
from psp.model import PSp
from stylegan2.networks.registry import GENERATORS


class Named(L2):
    def __init__(self, name):
        super().__init__()
        self.name = name


def build_model(name="gradual", seed=0, resolution=16):
    torch.manual_seed(seed)
    generator = GENERATORS.build(
        "stylegan2", resolution, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2
    )
    generator.mapping.w_avg.normal_()
    sizes = {} if name.startswith("light") else {"widths": (16, 16, 16, 16), "units": (1, 1, 1, 1)}
    if name == "gradual":
        sizes["head_width"] = 8
    return PSp(ENCODERS.build(name, num_ws=generator.num_ws, w_dim=8, input_size=32, **sizes), generator).eval()


@pytest.fixture(scope="session")
def build():
    return build_model


@pytest.fixture(scope="module")
def model():
    return build_model()


@pytest.fixture
def metrics():
    return Metrics(Named("effnet"), Named("id_dlib"))


class RandomPairs:
    """Random targets [count, 3, 16, 16] whose sources are zeros."""

    def __init__(self, count=9):
        self.targets = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def batch(self, start, stop, source_size):
        targets = self.targets[start:stop]
        return torch.zeros(len(targets), 3, source_size, source_size), targets

    def show_source(self, source):
        return source


@pytest.fixture
def pairs():
    return RandomPairs()


@pytest.fixture
def images():
    """`images(7)` are seven random ones [7, 3, 16, 16]."""
    return lambda count, size=16: torch.rand(count, 3, size, size) * 2 - 1
