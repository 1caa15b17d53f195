"""Generators of gray and of transparent images: encoders are trained for them, and losses see what people see."""

import pytest
import torch

from psp.encoders import encoder_for
from psp.losses import WeightedLosses, build_losses
from psp.losses.identity import Identity
from psp.losses.l2 import L2
from psp.losses.lpips import EffNet
from psp.model import Codes, PSp, as_rgb_pair
from psp.optimize import optimize_codes, tune_generator
from psp.trainer import step
from psp.training_settings import TrainingSettings
from psp.training_state import buffers_of_step, build_state
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.pixels import LUMA
from stylegan2.runtime.stats import Averages


def generator_of(channels):
    torch.manual_seed(0)
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 8, "mapping_layers": 1}
    return GENERATORS.build("stylegan2", 32, img_channels=channels, **sizes).eval()


def test_a_target_of_a_gray_generator_is_gray():
    output, target = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 4, 4)
    seen, wanted = as_rgb_pair(output, target)
    assert torch.equal(seen, output.expand(-1, 3, -1, -1))
    gray = sum(weight * target[:, c] for c, weight in enumerate(LUMA))
    torch.testing.assert_close(wanted, gray[:, None].expand(-1, 3, -1, -1))


def test_what_is_transparent_shows_white():
    output = torch.rand(1, 4, 4, 4)
    output[:, 3, :2], output[:, 3, 2:] = -1, 1
    seen, wanted = as_rgb_pair(output, output[:, :3])
    assert torch.equal(seen[:, :, :2], torch.ones(1, 3, 2, 4))
    torch.testing.assert_close(seen[:, :, 2:], output[:, :3, 2:])
    assert torch.equal(wanted, output[:, :3])


@pytest.mark.parametrize("loss", [EffNet, lambda: Identity("dlib")])
def test_networks_see_gray_and_transparent_images(loss):
    loss, gray = loss(), torch.rand(2, 1, 64, 64) * 2 - 1
    opaque = torch.cat([gray.expand(-1, 3, -1, -1), torch.ones_like(gray)], dim=1)
    with torch.no_grad():
        expected = loss(gray.expand(-1, 3, -1, -1), gray.flip(3).expand(-1, 3, -1, -1))
        torch.testing.assert_close(loss(gray, gray.flip(3)), expected)
        torch.testing.assert_close(loss(opaque, opaque.flip(3)), expected)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", ["light", "light_restyle", "light_feature", "light_feature_gradient"])
def test_an_encoder_learns(channels, name):
    generator = generator_of(channels)
    model = PSp(encoder_for(generator, name, 3), generator)
    settings = TrainingSettings(max_steps=12, batch_size=2, learning_rate=1e-3)
    losses = build_losses({"l2": 1.0, "perceptual": 0.1}, perceptual={"network": "effnet"})
    state, averages = build_state(model, settings), Averages()
    guard = Guard(10, buffers_of_step(state), None, torch.device("cpu"))
    source = torch.rand(2, 3, 32, 32) * 2 - 1
    found = []
    for number in range(12):
        torch.manual_seed(number)
        with guard.step():
            step(state, source, source, losses=losses, settings=settings, guard=guard, averages=averages)
        found.append(averages.pop()["train/loss"])
    assert sum(found[-3:]) < sum(found[:3])


@pytest.mark.parametrize("channels", [1, 4])
def test_samples_of_the_generator_are_sources(channels):
    generator = generator_of(channels)
    model = PSp(encoder_for(generator, "light", 3), generator)
    settings = TrainingSettings(max_steps=1, batch_size=4, generated_share=0.5)
    state, averages = build_state(model, settings), Averages()
    guard = Guard(10, buffers_of_step(state), None, torch.device("cpu"))
    with guard.step():
        images = torch.rand(4, 3, 32, 32)
        losses = WeightedLosses({"l2": (L2(), 1.0)})
        step(state, images, images, losses=losses, settings=settings, guard=guard, averages=averages)
    assert averages.pop()["train/loss_latent"] > 0


@pytest.mark.parametrize("channels", [1, 4])
def test_optimisation_comes_closer(channels):
    generator = generator_of(channels)
    losses = WeightedLosses({"l2": (L2(), 1.0)})
    with torch.no_grad():
        target, _ = as_rgb_pair(generator(torch.randn(2, 8)), torch.zeros(2, 3, 32, 32))  # [2, 3, 32, 32]

    def distance(network, codes):
        with torch.no_grad():
            return float(
                losses.total(
                    losses(
                        **dict(
                            zip(
                                ("output", "target"),
                                as_rgb_pair(network.synthesis(codes.w_plus, noise_mode="const"), target),
                                strict=True,
                            )
                        )
                    )
                )
            )

    start = Codes(generator.w_avg.expand(2, generator.num_ws, -1))
    codes = optimize_codes(generator, target, losses, start, steps=20)
    assert distance(generator, codes) < distance(generator, start)
    tuned = tune_generator(generator, target, codes, losses, steps=5)
    assert distance(tuned, codes) < distance(generator, codes)
