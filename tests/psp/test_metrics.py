import pytest
import torch
from torch import nn

from psp.losses.l2 import L2
from psp.metrics import Meters, build_meters, measure


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
    meters = Meters(Distance("p"), Distance("q"))
    output, target = torch.randn(4, 3, 8, 8) * 2, torch.rand(4, 3, 8, 8) * 2 - 1
    values = measure(meters, output, target)
    clamped = output.double().clamp(-1, 1)
    expected = torch.stack([(clamped[n] - target[n].double()).square().mean() for n in range(4)])
    torch.testing.assert_close(values["mse"].double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(values["perceptual"].double(), clamped.mean([1, 2, 3]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(values["identity"], 1 - values["perceptual"])
    assert not any(value.requires_grad for value in values.values())


def test_numbers_carry_the_name_of_their_network():
    meters = Meters(Distance("effnet"), Distance("id_dlib"))
    assert meters.names == {"perceptual": "effnet", "identity": "id_dlib"}
    assert meters.label("perceptual") == "perceptual (effnet)"
    assert meters.label("identity") == "identity (id_dlib)"
    assert meters.label("mse") == "mse"


def test_meters_are_frozen():
    meters = Meters(Distance("p").train(), L2())
    assert not meters.perceptual.training
    assert not any(parameter.requires_grad for parameter in meters.parameters())


def test_the_real_networks_know_an_image_again():
    meters = build_meters(perceptual={"network": "effnet"}, id={"network": "dlib"})
    assert meters.names == {"perceptual": "effnet", "identity": "id_dlib"}
    target = torch.rand(1, 3, 64, 64) * 2 - 1
    same, other = measure(meters, target, target), measure(meters, target.flip(3) * 0.3, target)
    assert (same["mse"].item(), same["perceptual"].item()) == (0.0, 0.0)
    assert same["identity"].item() == pytest.approx(1.0, abs=1e-5)
    assert other["perceptual"] > 0.05
    assert other["identity"] < 0.99
