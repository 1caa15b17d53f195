"""Samples: the same for every batch size, and such as a file holds."""

import torch

from stylegan2.metrics.samples import as_rgb, batches, classes, generate, latents, mapped, rounded
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.images import to_tensor, to_uint8


def test_samples_are_what_a_file_would_give_back():
    images = torch.randn(4, 3, 8, 8)
    again = torch.stack([to_tensor(picture) for picture in to_uint8(images)])
    torch.testing.assert_close(rounded(images), again, rtol=0, atol=1e-6)


def test_latents_of_other_seeds_and_streams_differ(toy):
    first = latents(toy, 6, seed=0)
    assert first.shape == (6, 16)
    assert torch.equal(first, latents(toy, 6, seed=0))
    for other in (latents(toy, 6, seed=1), latents(toy, 6, seed=0, stream=1)):
        assert not torch.equal(first, other)


def test_generate_gives_every_sample_once():
    generator = GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=64, channel_max=8, mapping_layers=1)
    z = latents(generator, 7, 0)
    parts = list(generate(generator, z, batch_size=3))
    assert [len(part) for part in parts] == [3, 3, 1]
    expected = rounded(generator(z, noise_mode="none"))  # its noise has no strength yet
    torch.testing.assert_close(torch.cat(parts), expected, rtol=0, atol=0.01)
    truncated = torch.cat(list(generate(generator, z, 7, truncation_psi=0.0)))
    assert (truncated - truncated[:1]).abs().max() < 0.01


def test_the_noise_of_samples_is_fresh_and_repeatable(toy):
    first, again = (torch.cat(list(generate(toy, latents(toy, 4, 0), 2, seed=3))) for _ in range(2))
    assert set(toy.noise_modes) == {"random"}
    assert torch.equal(first, again)
    assert not torch.equal(first, torch.cat(list(generate(toy, latents(toy, 4, 0), 2, seed=4))))


def test_batches_cover_the_count():
    assert [(part.start, part.stop) for part in batches(10, 4, "x")] == [(0, 4), (4, 8), (8, 10)]


def test_every_number_of_channels_becomes_rgb():
    gray, rgba = torch.rand(2, 1, 4, 4), torch.rand(2, 4, 4, 4)
    assert torch.equal(as_rgb(gray), gray.repeat(1, 3, 1, 1))
    rgba[:, 3] = 1
    assert torch.equal(as_rgb(rgba), rgba[:, :3])
    rgba[:, 3] = -1
    assert torch.equal(as_rgb(rgba), torch.ones(2, 3, 4, 4))


def test_classes_come_evenly_and_reach_the_generator():
    generator = GENERATORS.build(
        "stylegan2", 16, z_dim=8, w_dim=8, channel_base=64, channel_max=8, mapping_layers=1, num_classes=3
    )
    labels = classes(generator, 30, seed=0)
    assert torch.bincount(labels).tolist() == [10, 10, 10]
    assert not torch.equal(labels, classes(generator, 30, seed=1))
    z = latents(generator, 5, 0)
    expected = rounded(generator(z, noise_mode="none", labels=classes(generator, 5, 0)))
    torch.testing.assert_close(torch.cat(list(generate(generator, z, 2))), expected, rtol=0, atol=0.01)
    assert not torch.allclose(
        mapped(generator, z, 1.0, torch.zeros(5, dtype=torch.long)),
        mapped(generator, z, 1.0, torch.ones(5, dtype=torch.long)),
    )


def test_other_generators_have_no_classes(toy):
    assert classes(toy, 4, 0) is None
