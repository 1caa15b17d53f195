"""Boundaries, principal components and closed-form directions against what is known of them, and their file."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch

import stylegan2
from stylegan2.latents.directions import (
    Directions,
    boundaries,
    boundary,
    build_directions,
    closed_form,
    condition,
    covariance_root,
    deviation_along,
    extremes,
    fingerprints,
    load_directions,
    principal_components,
    save_directions,
    style_weights,
)
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import CheckpointError, UserError


def unit(vector):
    return vector / vector.norm()


@pytest.fixture
def planted():
    """w [2000, 16] of uneven spread, and two overlapping directions that attributes depend on."""
    w = torch.randn(2000, 16) * torch.linspace(0.5, 2, 16)
    first = unit(torch.randn(16))
    second = unit(0.7 * first + unit(torch.randn(16)))
    return w, first, second


# ------------------------------------------------------------------------------------------- boundaries


@pytest.mark.parametrize("labels", ["scores", "hard"])
def test_the_boundary_is_the_planted_plane(planted, labels):
    w, first, _ = planted
    scores = w @ first + 0.3
    found = boundary(w, scores if labels == "scores" else (scores > 0).float())
    assert float(found @ first) > (0.97 if labels == "scores" else 0.98)
    assert float(found.norm()) == pytest.approx(1, abs=1e-5)
    assert float(boundary(w, -scores) @ first) < -0.97


def test_the_boundary_minimises_the_svms_objective(planted):
    w, first, _ = planted
    scores = w @ first + 0.5 * torch.randn(2000)
    found = boundary(w, scores, keep=1.0).numpy()
    x = np.asarray(w, np.float64)
    x = (x - x.mean(0)) / x.std(ddof=1)
    x = np.hstack([x, np.ones((2000, 1))])
    y = np.where(scores.numpy() >= np.sort(scores.numpy())[1000], 1, -1)

    def objective(v):
        slack = np.maximum(0, 1 - y * (x @ v))
        return v @ v / 2 + (slack**2).sum(), v - 2 * x.T @ (y * slack)

    best = scipy.optimize.minimize(objective, np.zeros(17), jac=True, tol=1e-12, options={"maxiter": 2000}).x[:-1]
    np.testing.assert_allclose(found, best / np.linalg.norm(best), atol=1e-4)


def test_the_unit_of_w_is_of_no_account(planted):
    w, first, _ = planted
    scores = w @ first
    torch.testing.assert_close(boundary(1000 * w + 7, scores), boundary(w, scores), atol=1e-4, rtol=0)


def test_the_surest_samples_are_kept():
    scores = torch.tensor([0.0, 5, -3, 2, -1, 9, 1, -8])
    high, low = extremes(scores, keep=0.5)
    assert (sorted(high.tolist()), sorted(low.tolist())) == ([1, 5], [2, 7])
    high, low = extremes(scores, keep=1.0)
    assert len(high) == len(low) == 4


@pytest.mark.parametrize("rare", [0.0, 1.0])
def test_of_rare_labels_only_the_right_ones_are_kept(rare):
    labels = torch.full([100], 1 - rare)
    labels[:7] = rare
    high, low = extremes(labels, keep=0.5)
    assert (labels[high] == 1).all()
    assert (labels[low] == 0).all()
    assert min(len(high), len(low)) == 7


@pytest.mark.parametrize("scores", [torch.ones(10), torch.zeros(10)])
def test_one_label_for_all_is_one_sentence(scores):
    with pytest.raises(UserError, match="all samples have the same label"):
        extremes(scores)


@pytest.mark.parametrize("keep", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_out_of_range_is_one_sentence(keep):
    with pytest.raises(UserError, match="share of samples to keep must be above 0 and at most 1"):
        extremes(torch.randn(10), keep)


def test_the_way_across_a_boundary_is_along_the_spread_of_w(planted):
    """For an attribute w @ a the way with the least departure from W's shape C is C a."""
    w, first, _ = planted
    way = boundaries(w[:1000], {"first": (w @ first)[:1000]}, {"first": []}, w)[0]
    covariance = np.cov(w.double().numpy().T)
    assert float(way.double() @ unit(torch.from_numpy(covariance) @ first.double())) > 0.97
    assert float(way @ first) < 0.97  # not straight at it


def test_a_conditioned_way_leaves_the_other_attribute_alone(planted):
    w, first, second = planted
    scores = {"first": w @ first, "second": w @ second, "unused": torch.zeros(2000)}
    plain, conditioned = (boundaries(w, scores, {"first": others}, w)[0] for others in ([], ["second"]))
    assert abs(float(plain @ second)) > 0.3
    assert abs(float(conditioned @ second)) < 0.1
    assert float(conditioned @ first) > 0.3
    both = boundaries(w, scores, {"second": ["first"], "first": ["second"]}, w)
    torch.testing.assert_close(both[1], conditioned)


def test_the_root_of_the_covariance_is_scipys():
    samples = torch.randn(400, 6) @ torch.randn(6, 6)
    expected = scipy.linalg.sqrtm(np.cov(samples.double().numpy().T))
    np.testing.assert_allclose(covariance_root(samples).numpy(), expected, atol=1e-6)
    flat = samples.clone()
    flat[:, 2] = 0.0
    assert float(torch.linalg.eigvalsh(covariance_root(flat))[0]) > 1e-3


# ------------------------------------------------------------------------------------- orthogonal parts


def test_conditioning_is_least_squares():
    vector, others = torch.randn(12), torch.randn(4, 12)
    a = others.double().numpy().T
    b = (vector / vector.norm()).double().numpy()
    rest = b - a @ np.linalg.lstsq(a, b, rcond=None)[0]
    found = condition(vector, list(others))
    np.testing.assert_allclose(found.numpy(), rest / np.linalg.norm(rest), atol=1e-6)
    assert float((others @ found).abs().max()) < 1e-5


def test_conditioning_on_one_is_the_papers_formula():
    """n1 - (n1 . n2) n2 (InterFaceGAN, section 2.2)."""
    n1, n2 = unit(torch.randn(8)), unit(torch.randn(8))
    torch.testing.assert_close(condition(n1, [n2]), unit(n1 - (n1 @ n2) * n2))
    torch.testing.assert_close(condition(3 * n1, []), n1)


def test_conditioning_on_itself_is_one_sentence():
    vector, other = torch.randn(8), torch.randn(8)
    with pytest.raises(UserError, match="a combination of the directions that it should keep unchanged"):
        condition(vector, [other, vector - 2 * other])


# ---------------------------------------------------------------------------------- without any labels


def test_principal_components_are_numpys():
    w = torch.randn(300, 10) @ torch.randn(10, 10) + 5
    vectors, deviations = principal_components(w, 4)
    centred = (w - w.mean(0)).double().numpy()
    _, singular, right = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(deviations.numpy(), singular[:4] / np.sqrt(300), rtol=1e-5)
    np.testing.assert_allclose(np.abs((vectors.numpy() * right[:4]).sum(1)), np.ones(4), atol=1e-5)
    torch.testing.assert_close(deviation_along(w, vectors), deviations)
    assert (vectors.gather(1, vectors.abs().argmax(1, keepdim=True)) > 0).all()


def test_closed_form_directions_are_numpys_eigenvectors(generator):
    rows = [0, 2, 5]
    vectors, shares = closed_form(generator, rows, 3)
    affines = [generator.synthesis.layers[0], generator.synthesis.layers[2], generator.synthesis.to_rgbs[-1]]
    stacked = np.concatenate([layer.affine.weight.detach().double().numpy() for layer in affines])
    values, columns = np.linalg.eigh(stacked.T @ stacked)
    np.testing.assert_allclose(np.abs((vectors.numpy().T * columns[:, :-4:-1]).sum(0)), np.ones(3), atol=1e-5)
    np.testing.assert_allclose(shares.numpy(), np.sqrt(values[:-4:-1] / values.sum()), rtol=1e-5)
    assert (shares[:-1] > shares[1:]).all()


def test_closed_form_directions_change_the_styles_most(generator):
    vectors, _ = closed_form(generator, range(6), 8)
    stacked = torch.cat([weight.detach() for weight in style_weights(generator)])
    moved = (stacked @ vectors.T).norm(dim=0)  # [8]
    others = (stacked @ torch.nn.functional.normalize(torch.randn(8, 200), dim=0)).norm(dim=0)
    assert moved[0] >= others.max()
    assert moved[-1] <= others.min()


def test_every_style_based_generator_has_closed_form_directions():
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8}
    grown = GENERATORS.build("stylegan", 16, mapping_layers=1, **sizes)
    weights = style_weights(grown)
    assert [weight.shape[1] for weight in weights] == [8] * grown.num_ws
    assert weights[-1] is grown.synthesis.layers[-1].affine.weight
    with pytest.raises(UserError, match="closed-form directions are not known for this kind of generator"):
        style_weights(GENERATORS.build("pggan", 16, **{k: v for k, v in sizes.items() if k != "w_dim"}))


@pytest.mark.parametrize("count", [0, 9])
def test_too_many_directions_are_one_sentence(generator, count):
    with pytest.raises(UserError, match=f"the number of closed-form directions must be from 1 to 8, not {count}"):
        closed_form(generator, [0], count)
    with pytest.raises(UserError, match=f"the number of principal components must be from 1 to 8, not {count}"):
        principal_components(torch.randn(100, 8), count)
    with pytest.raises(UserError, match="the number of principal components must be from 1 to 4"):
        principal_components(torch.randn(5, 8), 5)


# ----------------------------------------------------------------------------------- moving, and the file


@pytest.fixture
def directions():
    vectors = torch.nn.functional.normalize(torch.randn(2, 8), dim=1)
    return Directions(("smile", "age"), vectors, torch.tensor([0.5, 2.0]), (1, 3))


def test_codes_move_by_strength_times_scale_in_their_rows_alone(directions):
    codes = torch.randn(3, 6, 8)
    before = codes.clone()
    moved = directions.move(codes, "age", [-1, 0, 2.5])
    assert torch.equal(codes, before)
    for n in range(3):
        for s, strength in enumerate([-1, 0, 2.5]):
            for row in range(6):
                shift = strength * 2.0 * directions.vectors[1] if row in (1, 3) else 0
                torch.testing.assert_close(moved[n, s, row], codes[n, row] + shift)


def test_the_file_gives_them_back(directions, tmp_path):
    save_directions(tmp_path / "d.safetensors", directions, {"method": "boundary"})
    loaded, metadata = load_directions(tmp_path / "d.safetensors")
    assert (loaded.names, loaded.rows, metadata["method"]) == (("smile", "age"), (1, 3), "boundary")
    assert torch.equal(loaded.vectors, directions.vectors)
    assert torch.equal(loaded.scales, directions.scales)


def test_the_file_gives_back_the_changes_of_features(directions, tmp_path):
    known = replace(directions, features={"age": torch.randn(4, 8, 8).half()})
    save_directions(tmp_path / "d.safetensors", known, {})
    loaded, _ = load_directions(tmp_path / "d.safetensors")
    assert list(loaded.features) == ["age"]
    assert torch.equal(loaded.features["age"], known.features["age"])
    for wrong in ({"beard": torch.ones(4, 8, 8)}, {"age": torch.ones(8, 8)}, {"age": torch.full((4, 8, 8), torch.inf)}):
        save_directions(tmp_path / "d.safetensors", replace(directions, features=wrong), {})
        with pytest.raises(CheckpointError, match="its features .* are not"):
            load_directions(tmp_path / "d.safetensors")


def test_mistakes_are_one_sentence(directions, generator, tmp_path):
    directions.check(generator)
    with pytest.raises(UserError, match="no direction 'beard'; there are smile, age"):
        directions.move(torch.zeros(1, 6, 8), "beard", [1])
    with pytest.raises(UserError, match="w of 4 numbers and 10 rows or more, but this one has 8 and 6"):
        Directions(("x",), torch.ones(1, 4), torch.ones(1), (9,)).check(generator)
    checkpoint.save(tmp_path / "other.safetensors", {}, {"kind": "psp"})
    with pytest.raises(CheckpointError, match="contains no directions: it is a checkpoint of 'psp'"):
        load_directions(tmp_path / "other.safetensors")


# ------------------------------------------------------------------------ whose they are, and how far they go


@pytest.fixture
def pair():
    """Build a generator, and one with another mapping."""
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 16, "mapping_layers": 2}
    return [GENERATORS.build("stylegan2", 16, **sizes).eval().requires_grad_(False) for _ in range(2)]


def test_directions_of_another_generator_are_refused(pair, tmp_path):
    own, other = pair
    found = build_directions(own, ["a"], unit(torch.randn(8))[None], range(6), torch.randn(100, 8))
    save_directions(tmp_path / "d.safetensors", found, {})
    loaded, _ = load_directions(tmp_path / "d.safetensors")
    loaded.check(own)
    with pytest.raises(UserError, match="found for another generator"):
        loaded.check(other)


def test_the_fingerprints_are_those_of_w(pair, tmp_path):
    own, other = pair
    assert len(fingerprints(own)) == 1  # no training has measured the mean
    own.w_avg.copy_(torch.randn(8))
    other.w_avg.copy_(torch.randn(8))
    of_mapping, of_mean = fingerprints(own)
    assert not {of_mapping, of_mean} & set(fingerprints(other))
    stylegan2.save_generator(tmp_path / "half.safetensors", own, {}, torch.float16)
    assert fingerprints(stylegan2.load(tmp_path / "half.safetensors")[0]) == (of_mapping, of_mean)  # rounded weights
    own.synthesis.layers[0].weight.add_(1)  # as pivotal tuning does
    assert fingerprints(own) == (of_mapping, of_mean)
    own.mapping.layers[0].weight[0, 0] += 0.1
    assert fingerprints(own)[0] != of_mapping
    pggan = GENERATORS.build("pggan", 16, z_dim=8, channel_base=256, channel_max=16)
    assert fingerprints(pggan) != fingerprints(GENERATORS.build("pggan", 16, z_dim=8, channel_base=256, channel_max=16))


def test_directions_stay_valid_where_the_mapping_alone_is_trained(pair, tmp_path):
    own, _ = pair
    own.w_avg.copy_(torch.randn(8))
    found = build_directions(own, ["a"], unit(torch.randn(8))[None], range(6), torch.randn(100, 8))
    save_directions(tmp_path / "d.safetensors", found, {})
    own.mapping.layers[0].weight.add_(0.1)
    loaded, _ = load_directions(tmp_path / "d.safetensors")
    loaded.check(own)
    own.w_avg.add_(1)
    with pytest.raises(UserError, match="found for another generator"):
        loaded.check(own)


def test_positions_and_ranges_are_those_of_the_samples(pair):
    w = torch.randn(20_000, 8) * torch.arange(1, 9) + 5
    found = build_directions(pair[0], ["narrow", "wide"], torch.eye(8)[[0, 7]], (2, 3), w)
    torch.testing.assert_close(found.scales, torch.tensor([1.0, 8.0]), atol=0.1, rtol=0.02)
    low, high = found.range_of("wide")
    assert (low, high) == (pytest.approx(-2.58, abs=0.1), pytest.approx(2.58, abs=0.1))  # of a normal distribution
    codes = w[:50, None].expand(-1, 6, -1)
    torch.testing.assert_close(found.position(codes, "wide"), (w[:50, 7] - w[:, 7].mean()) / w[:, 7].std(correction=0))
    moved = found.move(codes, "wide", [1.5])[:, 0]
    torch.testing.assert_close(found.position(moved, "wide"), found.position(codes, "wide") + 1.5)


def test_files_of_earlier_versions_have_neither(directions, tmp_path):
    save_directions(tmp_path / "d.safetensors", directions, {})
    tensors, metadata = checkpoint.read(tmp_path / "d.safetensors")
    assert set(tensors) == {"vectors", "scales"}
    metadata.pop("fingerprints")
    for before, known in (({}, ()), ({"fingerprint": None}, ()), ({"fingerprint": "ab"}, ("ab",))):
        checkpoint.save(tmp_path / "d.safetensors", tensors, metadata | before)
        loaded, _ = load_directions(tmp_path / "d.safetensors")
        assert loaded.fingerprints == known
        assert (loaded.position(torch.zeros(1, 6, 4), "smile"), loaded.range_of("smile")) == (None, None)


def test_directions_come_along_for_the_generator_of_photographs():
    found, metadata = load_directions("portraits64_directions")
    found.check(stylegan2.load("portraits64")[0])
    assert metadata["generator"] == "portraits64"
    assert {"yaw", "smile", "age"} <= set(found.names)
    assert set(found.features) == {"smile", "glasses", "beard", "bald", "age"}
    assert {tuple(change.shape) for change in found.features.values()} == {(128, 16, 16)}
    assert all(found.range_of(name)[0] < -1.5 and found.range_of(name)[1] > 1.5 for name in found.names)
    with pytest.raises(UserError, match="they come|come with this package: portraits64_directions"):
        load_directions("portraits65_directions")
