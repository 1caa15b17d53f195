"""Seeds, rendering in parts, and what fresh noise changes."""

import numpy as np
import pytest
import torch

from stylegan2.latents import sampling
from stylegan2.latents.sampling import noise_statistics, random_w, render, seeded_w, seeded_z, vary_noise


def test_a_seed_is_the_same_latent_in_any_company(generator):
    z = seeded_z(generator, [3, 0, 11])
    torch.testing.assert_close(seeded_z(generator, [11]), z[2:], rtol=0, atol=0)
    assert z.shape == (3, 8)
    assert (z[0] - z[1]).abs().max() > 0.1


def test_rendering_in_parts_is_rendering_at_once(generator, monkeypatch):
    codes = generator.mapping(seeded_z(generator, range(5)))
    whole = render(generator, codes)
    monkeypatch.setattr(sampling, "PIXELS_AT_ONCE", 2 * 16**2)
    torch.testing.assert_close(render(generator, codes), whole)
    nested = render(generator, codes[:4].unflatten(0, (2, 2)))
    torch.testing.assert_close(nested, whole[:4].unflatten(0, (2, 2)))
    with torch.no_grad():
        torch.testing.assert_close(whole, generator.synthesis(codes).clamp(-1, 1))


def test_codes_of_seeds_are_truncated(generator):
    whole, truncated = seeded_w(generator, [4, 7]), seeded_w(generator, [4, 7], 0.5, 2)
    torch.testing.assert_close(truncated[:, :2], (generator.w_avg + whole[:, :2]) / 2)
    assert torch.equal(truncated[:, 2:], whole[:, 2:])
    assert not whole.requires_grad


def test_samples_of_w_are_mapped_and_repeatable(generator):
    w = random_w(generator, 300, seed=5, batch=77)
    assert torch.equal(w, random_w(generator, 300, seed=5, batch=77))
    assert w.shape == (300, 8)
    torch.testing.assert_close(w.mean(0), generator.w_avg, atol=0.2, rtol=0)


def test_noise_draws_are_repeatable_and_leave_the_caller_alone(generator):
    code = generator.mapping(seeded_z(generator, [0]))[0]
    state = torch.get_rng_state()
    images = vary_noise(generator, code, 40, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, vary_noise(generator, code, 40, seed=1))
    assert (images - vary_noise(generator, code, 40, seed=2)).abs().max() > 0.01
    mean, deviation = noise_statistics(images)
    assert (mean.shape, deviation.shape) == ((3, 16, 16), (16, 16))
    numbers = images.double().numpy()
    np.testing.assert_allclose(mean.numpy(), numbers.mean(0), atol=1e-6)
    np.testing.assert_allclose(deviation.numpy(), np.sqrt(numbers.var(0)).mean(0), atol=1e-6)
    assert deviation.mean() > 1e-3


def test_without_noise_strength_nothing_varies(generator):
    for layer in generator.synthesis.layers:
        torch.nn.init.zeros_(layer.noise_strength)
    code = generator.mapping(seeded_z(generator, [0]))[0]
    _, deviation = noise_statistics(vary_noise(generator, code, 5, seed=1))
    assert float(deviation.max()) == pytest.approx(0, abs=1e-6)
