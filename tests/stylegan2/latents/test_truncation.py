"""A mapping network that learns a truncation."""

import pytest
import torch

import stylegan2
from stylegan2 import transfer
from stylegan2.latents.truncation import learn_truncation
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.randomness import seeded_normal
from tests.training import difference


def test_a_shipped_generator_varies_more_and_renders_the_same_codes():
    generator, taught = (stylegan2.load("synthfaces64")[0] for _ in range(2))
    error = learn_truncation(taught, 1.3)
    z = seeded_normal((256, generator.z_dim), seed=5)
    with torch.no_grad():
        expected, w, before = generator.mapping(z, 1.3)[:, 0], taught.mapping(z)[:, 0], generator.mapping(z)[:, 0]
    off = (w - expected).square().sum() / (expected - generator.w_avg).square().sum()
    assert float(off) == pytest.approx(error, rel=0.3)
    assert error < 0.02
    assert (before - expected).square().sum() / (expected - generator.w_avg).square().sum() > 0.05
    changed = difference(generator.state_dict(), taught.state_dict())
    assert changed == {f"mapping.layers.{layer}.{part}" for layer in range(4) for part in ("weight", "bias")}


def test_classes_keep_their_means():
    torch.manual_seed(0)
    settings = {"img_resolution": 16, "z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 128}
    generator, taught = (GENERATORS.build_from("stylegan", settings | {"num_classes": 2}) for _ in range(2))
    taught.load_state_dict(generator.state_dict())
    learn_truncation(taught, 0.5)
    z, labels = seeded_normal((500, 8), seed=5), torch.arange(500) % 2
    with torch.no_grad():
        means = [G.mapping(z, psi, labels=labels)[labels == 1, 0].mean(0) for G, psi in ((generator, 0.5), (taught, 1))]
    torch.testing.assert_close(*means, atol=0.1, rtol=0)


def test_the_same_start_gives_the_same_mapping_network(tmp_path):
    torch.manual_seed(0)
    generator = GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=128)
    generator.w_avg.copy_(torch.randn(8))
    stylegan2.save_generator(tmp_path / "g.safetensors", generator, {})
    (taught, first), (_, second) = (transfer.read(tmp_path / "g.safetensors", psi=1.2) for _ in range(2))
    assert difference(first, second) == set()
    weight = "mapping.layers.0.weight"
    assert torch.equal(first[f"G.{weight}"], first[f"G_ema.{weight}"])
    assert torch.equal(first[f"G.{weight}"], taught.state_dict()[weight])
    assert not torch.equal(first[f"G.{weight}"], generator.state_dict()[weight])


def test_a_generator_without_a_mapping_network_is_refused():
    pggan = GENERATORS.build("pggan", 16, z_dim=8, channel_base=128, channel_max=8)
    with pytest.raises(UserError, match="this generator has no mapping network that could learn a truncation"):
        learn_truncation(pggan, 1.2)
