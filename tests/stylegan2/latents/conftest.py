"""A generator small enough to project into, whose noise inputs show."""

import pytest
import torch

from stylegan2.networks.registry import GENERATORS


@pytest.fixture
def generator():
    torch.manual_seed(0)
    network = GENERATORS.build(
        "stylegan2", 16, z_dim=8, w_dim=8, channel_base=256, channel_max=16, mapping_layers=2
    ).eval()
    with torch.no_grad():
        for layer in network.synthesis.layers:
            layer.noise_strength.fill_(0.1)
        network.mapping.track_average(network.mapping(torch.randn(1000, 8))[:, 0], decay=0.0)
    return network
