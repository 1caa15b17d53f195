import time

import pytest
import torch
from torch import nn

from psp.encoders import build_encoder
from psp.evaluation import encode_and_render, evaluate, mean_face, optimise, table
from psp.losses import WeightedLosses
from psp.losses.l2 import L2
from psp.metrics import Meters
from psp.model import PSp
from stylegan2.networks.stylegan2 import Generator


class Named(L2):
    def __init__(self, name):
        super().__init__()
        self.name = name


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    generator = Generator(16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2)
    generator.mapping.w_avg.normal_()
    sizes = {"widths": (16, 16, 16, 16), "units": (1, 1, 1, 1), "head_width": 8}
    return PSp(build_encoder("gradual", num_ws=6, w_dim=8, input_size=32, **sizes), generator).eval()


@pytest.fixture
def meters():
    return Meters(Named("effnet"), Named("id_dlib"))


def targets(count, size=16):
    return torch.rand(count, 3, size, size) * 2 - 1


def test_means_are_over_images_not_batches(meters):
    images = targets(7)
    whole, _ = evaluate(lambda target: target * 0.5, [images], meters)
    parts, _ = evaluate(lambda target: target * 0.5, iter(images.split(3)), meters)
    expected = (images * 0.5).square().mean().item()
    assert whole["mse"] == pytest.approx(expected, rel=1e-5)
    assert parts["mse"] == pytest.approx(expected, rel=1e-5)
    assert parts["identity"] == pytest.approx(1 - parts["perceptual"])


def test_seconds_are_those_of_the_method_alone(meters):
    def batches():
        for _ in range(2):
            time.sleep(0.3)
            yield targets(5)

    def method(target):
        time.sleep(0.05)
        return target

    result, _ = evaluate(method, batches(), meters)
    assert 0.1 / 10 <= result["seconds_per_image"] < 0.6 / 10


@pytest.mark.parametrize("keep", [0, 2, 4, 7, 9])
def test_the_first_outputs_are_kept(meters, keep):
    images = targets(7)
    _, outputs = evaluate(lambda target: target + 1, images.split(3), meters, keep=keep)
    assert torch.equal(outputs, images[:keep] + 1) if keep else len(outputs) == 0


@torch.no_grad()
def test_the_mean_face_is_the_same_for_every_image(model):
    outputs = mean_face(model)(targets(3))
    expected = model.generator.synthesis(model.generator.w_avg.expand(1, model.generator.num_ws, -1))
    for output in outputs:
        torch.testing.assert_close(output, expected[0])
    assert mean_face(model)(targets(3, size=8)).shape == (3, 3, 8, 8)


@torch.no_grad()
def test_the_encoder_sees_its_own_size(model):
    images = targets(2, size=32)
    outputs = encode_and_render(model)(images)
    assert outputs.shape == images.shape
    small = targets(2, size=16)
    source = nn.functional.interpolate(small, (32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(encode_and_render(model)(small), model(source))


def test_optimisation_beats_the_mean_face(model, meters):
    with torch.no_grad():
        images = model.generator(torch.randn(2, 8)).clamp(-1, 1)
    losses = WeightedLosses({"l2": (L2(), 1.0)})
    floor, _ = evaluate(mean_face(model), [images], meters)
    found, _ = evaluate(optimise(model, losses, steps=40), [images], meters)
    assert found["mse"] < 0.5 * floor["mse"]


def test_the_table_names_the_networks(meters):
    results = {
        "mean face": {"mse": 0.25, "perceptual": 1.0, "identity": 0.5, "seconds_per_image": 0.0},
        "encoder": {"mse": 0.12345, "perceptual": 0.5, "identity": 0.75, "seconds_per_image": 0.01},
    }
    assert table(results, meters) == (
        "| method | mse | perceptual (effnet) | identity (id_dlib) | seconds per image |\n"
        "|---|---|---|---|---|\n"
        "| mean face | 0.2500 | 1.0000 | 0.5000 | 0.0000 |\n"
        "| encoder | 0.1235 | 0.5000 | 0.7500 | 0.0100 |\n"
    )
