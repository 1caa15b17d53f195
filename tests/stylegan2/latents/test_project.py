"""The projector: its schedules and noise regularization by the formulas, and that it finds what is there."""

import math

import numpy as np
import pytest
import torch

from stylegan2.latents.project import (
    Schedule,
    noise_regularization,
    normalize_noise,
    project,
    ramped,
    reduce,
    synthesize,
    w_noise_scale,
    w_statistics,
)
from stylegan2.latents.sampling import seeded_z
from stylegan2.runtime.errors import UserError

SHORT = Schedule(steps=100, w_samples=500)


def pixels(output, target):
    """A stand-in for a perceptual distance."""
    return (output - target).square().mean([1, 2, 3])


@pytest.fixture
def target(generator):
    with torch.no_grad():
        return generator(seeded_z(generator, [1, 2]))  # [2, 3, 16, 16]


def naive_regularization(noise):
    """One map [H, H] in float64, pixel by pixel."""
    total, size = 0.0, len(noise)
    while True:
        right = np.mean([noise[y, x] * noise[y, x - 1] for y in range(size) for x in range(size)])
        down = np.mean([noise[y, x] * noise[y - 1, x] for y in range(size) for x in range(size)])
        total += right**2 + down**2
        if size <= 8:
            return total
        size //= 2
        blocks = [[noise[2 * y : 2 * y + 2, 2 * x : 2 * x + 2] for x in range(size)] for y in range(size)]
        noise = np.array([[2 * block.mean() for block in row] for row in blocks])


@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_noise_regularization_is_the_formula(size):
    noise = torch.randn(3, 1, size, size, dtype=torch.float64)
    expected = [naive_regularization(one[0].numpy()) for one in noise]
    np.testing.assert_allclose(noise_regularization(noise).numpy(), expected, rtol=1e-12)


def test_noise_regularization_tells_pictures_from_noise():
    noise = torch.randn(1, 1, 32, 32)
    smooth = torch.nn.functional.interpolate(torch.randn(1, 1, 8, 8), (32, 32), mode="bicubic")
    normalize_noise(smooth)
    assert noise_regularization(smooth) > 20 * noise_regularization(noise)


def test_normalized_noise_has_mean_0_and_variance_1_for_each_map():
    noise = 3 + 5 * torch.randn(2, 1, 16, 16)
    normalize_noise(noise)
    torch.testing.assert_close(noise.mean([1, 2, 3]), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(noise.var([1, 2, 3], correction=0), torch.ones(2))


def test_the_schedules_are_those_of_appendix_d():
    assert [ramped(k, 1000) for k in (0, 24, 49, 400, 750)] == pytest.approx([0.02, 0.5, 1, 1, 1])
    assert ramped(900, 1000) == pytest.approx(0.5 - 0.5 * math.cos(math.pi * 0.4))
    assert [w_noise_scale(t) for t in (0, 0.375, 0.75, 0.9)] == pytest.approx([1, 0.25, 0, 0])
    paper = Schedule()
    assert (paper.steps, paper.learning_rate, paper.w_noise) == (1000, 0.1, 0.05)
    assert (paper.noise_weight, paper.w_samples) == (1e5, 10_000)


def test_w_statistics_are_the_mean_and_the_root_of_the_mean_squared_distance(generator):
    mean, sigma = w_statistics(generator, 4000, seed=0)
    with torch.no_grad():
        w = generator.mapping(torch.randn(4000, 8))[:, 0].double().numpy()
    np.testing.assert_allclose(mean.numpy(), w.mean(0), atol=0.1)
    assert float(sigma) == pytest.approx(np.sqrt(((w - w.mean(0)) ** 2).sum(1).mean()), rel=0.05)


@pytest.mark.parametrize("space", ["w", "w_plus"])
def test_a_generated_image_is_found_again(generator, space):
    for layer in generator.synthesis.layers:
        torch.nn.init.constant_(layer.noise_strength, 0.02)  # the target's own noise cannot be found again
    with torch.no_grad():
        target = generator(seeded_z(generator, [1, 2]))
    seen = []
    found = project(generator, target, pixels, space, SHORT, lambda step, images, d: seen.append((step, d)))
    assert [step for step, _ in seen] == list(range(1, 101))
    mean, _ = w_statistics(generator, 500, 0)
    with torch.no_grad():
        start = pixels(generator.synthesis(mean.expand(2, 6, -1)), target)
    assert (found.distances < (0.05 if space == "w" else 0.15) * start).all()
    assert found.w_plus.shape == (2, 6, 8)
    same_rows = all(torch.equal(found.w_plus[:, 0], found.w_plus[:, row]) for row in range(1, 6))
    assert same_rows == (space == "w")
    torch.testing.assert_close(synthesize(generator, found.w_plus, found.noises), found.images)
    torch.testing.assert_close(pixels(found.images, target), found.distances)
    if space == "w":  # and it is the same point of W, not only an image like it
        truth = generator.mapping(seeded_z(generator, [1, 2]))[:, 0]
        assert ((found.w_plus[:, 0] - truth).norm(dim=1) < 0.15 * (mean - truth).norm(dim=1)).all()


def test_no_target_depends_on_its_company(generator, target):
    short = Schedule(steps=20, w_samples=100)
    together = project(generator, target, pixels, "w_plus", short)
    alone = project(generator, target[1:], pixels, "w_plus", short)
    torch.testing.assert_close(together.w_plus[1:], alone.w_plus, rtol=1e-3, atol=1e-4)
    again = project(generator, target, pixels, "w_plus", short)
    assert torch.equal(together.w_plus, again.w_plus)


def test_regularized_noise_stays_noise(generator, target):
    """Without the term the maps take up the image; with it they stay uncorrelated."""

    def worst(weight):
        found = project(generator, target, pixels, "w", Schedule(steps=60, w_samples=100, noise_weight=weight))
        return max(float(noise_regularization(noise).max()) for name, noise in found.noises.items() if "0" not in name)

    assert worst(1e5) < 0.1 * worst(0.0)


def test_the_generator_is_left_alone(generator, target):
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    state = torch.get_rng_state()
    project(generator, target, pixels, "w", Schedule(steps=2, w_samples=100))
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in generator.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_own_noise_is_used(generator):
    code = generator.mapping(seeded_z(generator, [1]))
    stored = {name: b[None, None] for name, b in generator.synthesis.named_buffers() if name.endswith("noise_const")}
    assert len(stored) == len(generator.synthesis.layers)
    torch.testing.assert_close(synthesize(generator, code, stored), generator.synthesis(code))
    other = {name: torch.randn_like(noise) for name, noise in stored.items()}
    assert (synthesize(generator, code, other) - generator.synthesis(code)).abs().max() > 0.01


def test_large_images_are_compared_at_256_px():
    images = torch.randn(1, 3, 512, 512)
    torch.testing.assert_close(reduce(images), torch.nn.functional.avg_pool2d(images, 2))
    assert torch.equal(reduce(images[..., :128, :128]), images[..., :128, :128])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"space": "z"}, "no latent space 'z' to project into: choose w or w_plus"),
        ({"target": torch.zeros(1, 3, 32, 32)}, r"must have the shape \['N', 3, 16, 16\], not \[1, 3, 32, 32\]"),
        ({"target": torch.zeros(0, 3, 16, 16)}, r"not \[0, 3, 16, 16\]"),
    ],
)
def test_mistakes_are_one_sentence(generator, target, change, words):
    arguments = {"target": target, "space": "w"} | change
    with pytest.raises(UserError, match=words):
        project(generator, arguments["target"], pixels, arguments["space"], SHORT)


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"w_samples": 1}, {"learning_rate": 0}, {"w_noise": -1}, {"noise_weight": float("nan")}]
)
def test_numbers_out_of_range(settings):
    with pytest.raises(UserError, match="a projection"):
        Schedule(**settings)
