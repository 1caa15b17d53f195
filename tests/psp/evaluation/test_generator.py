"""The metrics by name, on a tiny generator with stand-ins for the large networks."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from psp.evaluation import generator as generator_evaluation
from psp.evaluation.features import FeatureNetwork
from psp.evaluation.generator import GROUPS, METRICS, MetricInputs, evaluate_generator, face_rate, parse_metrics
from stylegan2.metrics.features import feature_statistics
from stylegan2.metrics.frechet import frechet_distance
from stylegan2.metrics.kernel_distance import kernel_distance
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import to_tensor

CALLS: list[str] = []


def embed(images):
    """Mean colours of the four quarters, [N, 12]."""
    return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


class Noise:
    """Real images: noise."""

    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)

    def __len__(self):
        return len(self.pixels)

    def images(self):
        return torch.stack([to_tensor(picture) for picture in self.pixels])

    def statistics(self, network, keep, batch_size):
        CALLS.append(f"real {network.name}")
        return feature_statistics(self.images().split(batch_size), network, keep)


class SquaredDifference(torch.nn.Module):
    name = "mse"

    def forward(self, a, b):
        return (a - b).square().mean([1, 2, 3])


class Colours(torch.nn.Module):
    names = ("bright", "red")

    def forward(self, images):
        return embed(images)[:, :2]


@pytest.fixture
def inputs(monkeypatch):
    CALLS.clear()
    torch.manual_seed(0)
    generator = GENERATORS.build(
        "stylegan2", 16, z_dim=8, w_dim=8, channel_base=64, channel_max=8, mapping_layers=1
    ).eval()

    def features(name, path, device):
        CALLS.append(name)
        return FeatureNetwork(name, f"what {name} is", "", torch.nn.Linear(1, 1), embed)

    accuracies = {"bright": 1.0, "red": 0.9}
    monkeypatch.setattr(generator_evaluation, "feature_network", features)
    monkeypatch.setattr(generator_evaluation, "build_perceptual", lambda network: SquaredDifference())
    monkeypatch.setattr(generator_evaluation, "attribute_classifier", lambda data, device: (Colours(), accuracies))
    monkeypatch.setattr(
        generator_evaluation, "project", lambda G, targets, d, schedule: SimpleNamespace(images=targets * 0.5)
    )
    return MetricInputs(
        generator.requires_grad_(False),
        Noise(),
        Noise.pixels,
        object(),
        num_samples=16,
        batch_size=5,
        attribution_images=3,
        projection_steps=10,
    )


def test_names_and_groups():
    assert parse_metrics("fd_effnet, ppl,fd_effnet") == ["fd_effnet", *GROUPS["ppl"]]
    assert set(GROUPS["ppl"]) <= set(METRICS)
    for bad in ("fd_inception", "", "fid,ppl_w"):
        with pytest.raises(UserError, match="choose from fd_effnet"):
            parse_metrics(bad)


def test_every_metric_reports_finite_numbers_and_its_protocol(inputs, monkeypatch):
    monkeypatch.setattr(generator_evaluation, "build_detector", lambda name: lambda picture: [1])
    results = evaluate_generator(inputs, list(METRICS))
    assert list(results) == list(METRICS)
    for name, result in results.items():
        assert result.values
        assert np.isfinite(list(result.values.values())).all(), name
        assert result.protocol
        assert result.seconds >= 0
        assert result.num_samples > 0
    numbers = [value for name in results if "dlib" not in name for value in results[name].values]
    assert len(numbers) == len(set(numbers))


def test_networks_see_real_images_and_samples_once(inputs):
    evaluate_generator(inputs, ["fd_effnet", "kd_effnet", "precision_recall"])
    assert CALLS == ["effnet", "real effnet"]


def test_features_are_kept_only_where_a_metric_needs_them(inputs):
    kept = []
    statistics = inputs.real.statistics
    inputs.real.statistics = lambda network, keep, size: kept.append(keep) or statistics(network, keep, size)
    evaluate_generator(inputs, ["fd_effnet"])
    evaluate_generator(inputs, ["fd_effnet", "kd_effnet"])
    assert kept == [False, True]


def test_distances_are_those_of_the_samples(inputs):
    results = evaluate_generator(inputs, ["fd_effnet", "kd_effnet"])
    fake = feature_statistics(inputs.sample(16), embed, keep=True)
    real = feature_statistics([inputs.real.images()], embed, keep=True)
    assert results["fd_effnet"].values["fd_effnet"] == pytest.approx(frechet_distance(real, fake))
    assert results["kd_effnet"].values["kd_effnet"] == pytest.approx(kernel_distance(real.kept, fake.kept)[0])


def test_only_inception_makes_it_fid(inputs):
    results = evaluate_generator(inputs, ["fd_effnet", "fid", "kid"])
    assert any("not FID" in text for text in results["fd_effnet"].departures)
    assert not any("FID" in text for text in results["fid"].departures)
    assert results["fid"].network == "what inception is"
    assert "inception" in CALLS


def test_departures_name_what_is_not_the_papers(inputs):
    result = evaluate_generator(inputs, ["ppl_w_end"])["ppl_w_end"]
    assert "16 samples instead of 100,000" in result.departures
    assert any("mse" in text for text in result.departures)
    usage = evaluate_generator(inputs, ["resolution_usage"])["resolution_usage"]
    assert sum(usage.values.values()) == pytest.approx(1)
    assert list(usage.values) == ["resolution_usage_4", "resolution_usage_8", "resolution_usage_16"]


def test_attribution_compares_with_what_the_projector_made(inputs):
    result = evaluate_generator(inputs, ["attribution"])["attribution"]
    half = inputs.real.images()[:3] / 2
    assert result.values["attribution_real"] == pytest.approx(float(half.square().mean()), rel=1e-5)
    assert result.values["attribution_auc"] in (0, 1 / 9, 2 / 9, 1 / 3, 4 / 9, 5 / 9, 2 / 3, 7 / 9, 8 / 9, 1)
    assert "10 steps instead of 1,000" in result.departures


def test_faces_are_looked_for_in_enlarged_colour_pictures(monkeypatch):
    seen = []

    def detect(picture):
        seen.append(picture.shape)
        return [1] if picture.mean() > 100 else []

    monkeypatch.setattr(generator_evaluation, "build_detector", lambda name: detect)
    pictures = [np.full((16, 16, c), level, np.uint8) for c, level in ((3, 200), (1, 0), (4, 150), (1, 250))]
    assert face_rate(pictures, "x") == 0.75
    assert set(seen) == {(256, 256, 3)}


def test_a_generator_without_w_is_measured_in_z_alone(inputs):
    other = GENERATORS.build("pggan", 16, z_dim=8, channel_base=64, channel_max=8).eval().requires_grad_(False)
    assert parse_metrics("ppl,separability", other) == ["ppl_z_full", "ppl_z_end", "separability"]
    found = evaluate_generator(dataclasses.replace(inputs, generator=other), ["ppl_z_end", "separability", "fd_effnet"])
    assert list(found["separability"].values) == ["separability_z", "separability_z_held_out"]
    for name in ("ppl_w_end", "resolution_usage"):
        with pytest.raises(UserError, match="which this generator does not have|architecture 'skip'"):
            parse_metrics(f"fd_effnet,{name}", other)


def test_a_generator_of_classes_is_measured_over_all_of_them(inputs, monkeypatch):
    other = GENERATORS.build(
        "stylegan2", 16, z_dim=8, w_dim=8, channel_base=64, channel_max=8, mapping_layers=1, num_classes=2
    ).eval()
    monkeypatch.setattr(generator_evaluation, "build_detector", lambda name: lambda picture: [1])
    found = evaluate_generator(dataclasses.replace(inputs, generator=other.requires_grad_(False)), list(METRICS))
    assert "classes drawn evenly" in found["fd_effnet"].departures
