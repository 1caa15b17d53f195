"""Class conditioning: what the labels change in generator and discriminator, against naive formulas."""

import itertools
import math

import pytest
import torch
from torch import Tensor

import stylegan2
from stylegan2.latents.sampling import seeded_w, seeded_z
from stylegan2.metrics.samples import classes
from stylegan2.networks import growing, registry
from stylegan2.networks import stylegan2 as sg2
from stylegan2.networks.conditioning import LabelEmbedding, Projection, keep_label_rows, labels_of
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.trainer import sample_sheet

SMALL = {"z_dim": 6, "channel_base": 96, "channel_max": 7, "num_classes": 3}
GENERATORS = {
    "pggan": lambda: registry.GENERATORS.build("pggan", 16, **SMALL),
    "stylegan": lambda: registry.GENERATORS.build("stylegan", 16, **SMALL, w_dim=5, mapping_layers=2),
    "stylegan2": lambda: registry.GENERATORS.build("stylegan2", 16, **SMALL, w_dim=5, mapping_layers=2),
}
DISCRIMINATORS = {
    "growing": lambda classes: growing.Discriminator(16, 3, 96, 6, num_classes=classes),
    "stylegan2": lambda classes: sg2.Discriminator(16, 3, 96, 6, num_classes=classes),
}
LABELS = torch.tensor([2, 0, 1, 2])


def embedded(p: dict, labels: Tensor) -> Tensor:
    """The label's column of the matrix, with equalized learning rate and bias, at mean square 1."""
    rows = []
    for label in labels.tolist():
        row = p["embedding.linear.weight"][:, label] / math.sqrt(3) + p["embedding.linear.bias"]
        rows.append(row / math.sqrt(float(row @ row) / len(row) + 1e-8))
    return torch.stack(rows)


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def normalised(z: Tensor) -> Tensor:
    return z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()


def test_pggans_latent_is_z_beside_the_embedding():
    G = GENERATORS["pggan"]().double()
    z = torch.randn(4, 6, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.cat([normalised(z), embedded(G.mapping.state_dict(), LABELS)], dim=1)
        torch.testing.assert_close(G.mapping(z, labels=LABELS), expected[:, None])
    assert G.w_dim == 12


@pytest.mark.parametrize(("name", "bias_gain"), [("stylegan", 1.0), ("stylegan2", math.sqrt(2))])
def test_the_mapping_reads_z_beside_the_embedding(name, bias_gain):
    G = GENERATORS[name]().double()
    z = torch.randn(4, 6, dtype=torch.float64)
    with torch.no_grad():
        for layer in G.mapping.layers:
            layer.bias.normal_()
        p = G.mapping.state_dict()
        w = torch.cat([normalised(z), embedded(p, LABELS)], dim=1)
        for k in range(2):
            weight, bias = p[f"layers.{k}.weight"], p[f"layers.{k}.bias"]
            w = lrelu(w @ weight.t() * (0.01 * math.sqrt(2 / weight.shape[1])) + bias * (0.01 * bias_gain))
        torch.testing.assert_close(G.mapping(z, labels=LABELS), w[:, None].expand(-1, G.num_ws, -1))


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_the_label_changes_the_image(name):
    G = GENERATORS[name]()
    z = torch.randn(1, 6)
    with torch.no_grad():
        images = [G(z, labels=torch.tensor([label])) for label in range(3)]
        again = G(z, labels=torch.tensor([1]))
    assert torch.equal(images[1], again)
    assert all((a - b).abs().max() > 1e-4 for a, b in itertools.pairwise(images))


def test_projection_is_an_inner_product_with_the_labels_features():
    projection = Projection(3, 5).double()
    features = torch.randn(4, 5, dtype=torch.float64)
    with torch.no_grad():
        for layer in projection.layers:
            layer.bias.normal_()
        wanted = embedded(projection.state_dict(), LABELS)
        for layer in projection.layers:
            wanted = lrelu((wanted @ layer.weight.t() / math.sqrt(5) + layer.bias) * 0.01) * math.sqrt(2)
        expected = torch.stack([(f @ w) / math.sqrt(5) for f, w in zip(features, wanted, strict=True)])[:, None]
        torch.testing.assert_close(projection(features, LABELS), expected)


@pytest.mark.parametrize("name", sorted(DISCRIMINATORS))
def test_the_discriminator_judges_image_and_label_together(name):
    D = DISCRIMINATORS[name](3)
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        logits, other = D(images, labels=LABELS), D(images, labels=(LABELS + 1) % 3)
        assert logits.shape == (4, 1)
        assert (logits - other).abs().min() > 1e-6
        both = D(torch.cat([images, images]), parts=2, labels=LABELS.repeat(2))
        torch.testing.assert_close(both, torch.cat([logits, logits]))


def test_an_embedding_has_unit_mean_square():
    embedding = LabelEmbedding(3, 8)
    torch.testing.assert_close(embedding(LABELS).square().mean(1), torch.ones(4))


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_labels_are_asked_for(name):
    with pytest.raises(UserError, match="conditioned on 3 classes: give it the labels of the samples"):
        GENERATORS[name]()(torch.randn(1, 6))


def test_labels_for_a_network_that_knows_none_are_refused():
    G = sg2.Generator(16, z_dim=6, w_dim=5, channel_base=96, channel_max=7, mapping_layers=2)
    with pytest.raises(UserError, match="not conditioned on classes"):
        G(torch.randn(4, 6), labels=LABELS)
    for build in DISCRIMINATORS.values():
        with pytest.raises(UserError, match="not conditioned on classes"):
            build(0)(torch.randn(4, 3, 16, 16), labels=LABELS)


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_a_conditional_generator_is_saved_and_loaded(name, tmp_path):
    G = GENERATORS[name]()
    stylegan2.save_generator(tmp_path / "g.safetensors", G, {})
    loaded, _ = stylegan2.load(tmp_path / "g.safetensors")
    assert loaded.num_classes == 3
    z = torch.randn(4, 6)
    with torch.no_grad():
        assert torch.equal(loaded(z, labels=LABELS), G(z, labels=LABELS))


VECTORS = torch.tensor([[0.0, 1.5, -2.0], [1.0, 0.0, 3.0]])


@pytest.mark.parametrize("name", GENERATORS)
def test_samples_have_vectors_of_the_data(name, tmp_path):
    G = GENERATORS[name]().eval()
    keep_label_rows(G, VECTORS)
    stylegan2.save_generator(tmp_path / "g.safetensors", G, {})
    again, _ = stylegan2.load(tmp_path / "g.safetensors")
    assert torch.equal(again.label_rows, VECTORS)
    assert torch.equal(labels_of(again, torch.tensor([1, 2, 5])), VECTORS[[1, 0, 1]])
    w = seeded_w(again, [0, 1, 2])
    with torch.no_grad():
        assert torch.equal(w, G.mapping(seeded_z(G, [0, 1, 2]), labels=VECTORS[[0, 1, 0]]))
    assert torch.equal(seeded_w(again, [0], label=1), G.mapping(seeded_z(G, [0]), labels=VECTORS[1:]).detach())
    with pytest.raises(UserError, match="the classes of this generator are 0 to 1"):
        seeded_w(again, [0], label=2)
    drawn = classes(again, 100, seed=0)
    assert [int((drawn == row).all(1).sum()) for row in VECTORS] == [50, 50]
    assert sample_sheet(again, torch.device("cpu"), 2, 3).shape == (48, 32, 3)


@pytest.mark.parametrize("rows", [5, [], [[1.0, 2.0]], [[1, 2, "x"]], [[1.0, 2.0, float("nan")]], [[True, 1, 2]]])
def test_vectors_in_a_file_are_checked(rows):
    with pytest.raises(CheckpointError, match="label_rows are not lists of 3 numbers each"):
        keep_label_rows(GENERATORS["stylegan2"](), rows)
