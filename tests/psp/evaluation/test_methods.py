"""Rows of the table: what they render, what they are called, and when two are the same."""

import json

import pytest
import torch

from psp.encoders import ENCODERS
from psp.evaluation.methods import (
    FAMILIES,
    digest_of_tensors,
    encode_and_render,
    load_models,
    mean_face,
    optimise,
    paper_name,
    refine,
)
from psp.loading import save_model
from psp.losses import WeightedLosses
from psp.losses.l2 import L2
from psp.model import PSp
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import built_as


def ignore(step):
    pass


@torch.no_grad()
def test_the_mean_face_is_the_same_for_every_image(model, images):
    render = mean_face(model).render
    expected = model.generator.synthesis(model.generator.w_avg.expand(1, model.generator.num_ws, -1))
    for output in render(images(3, 32), images(3), ignore):
        torch.testing.assert_close(output, expected[0])
    assert render(images(3, 32), images(3, 8), ignore).shape == (3, 3, 8, 8)


@torch.no_grad()
def test_the_encoder_sees_the_source(model, images):
    source, target = images(2, 32), images(2)
    row = encode_and_render(model, "mine")
    assert (row.name, row.source_size, row.steps) == ("mine", 32, 0)
    torch.testing.assert_close(row.render(source, target, ignore), model(source))
    assert row.render(source, images(2, 8), ignore).shape == (2, 3, 8, 8)


def test_optimisation_beats_the_mean_face_and_refinement_the_encoder(model, images):
    with torch.no_grad():
        target = model.generator(torch.randn(2, 8)).clamp(-1, 1)
        losses, source, calls = WeightedLosses({"l2": (L2(), 1.0)}), images(2, 32), []
        rows = {
            "mean": mean_face(model),
            "encoder": encode_and_render(model, "pSp"),
            "refined": refine(model, losses, 30, "pSp"),
            "optimised": optimise(model, losses, 40),
        }
        errors = {
            name: (row.render(source, target, calls.append) - target).square().mean() for name, row in rows.items()
        }
    assert errors["optimised"] < 0.5 * errors["mean"]
    assert errors["refined"] < 0.5 * errors["encoder"]
    assert calls == [*range(1, 31), *range(1, 41)]
    assert (rows["refined"].name, rows["optimised"].name) == (
        "pSp + refinement, 30 steps",
        "W+ optimisation, 40 steps",
    )
    assert (rows["refined"].steps, rows["optimised"].steps) == (30, 40)


# --- keys: results are kept under them ---


def keys(model, steps=5, weight=1.0):
    losses = WeightedLosses({"l2": (L2(), weight)})
    rows = (mean_face(model), encode_and_render(model, "a"), refine(model, losses, steps, "a"))
    return [json.dumps(row.key) for row in (*rows, optimise(model, losses, steps))]


def test_equal_models_have_equal_keys_and_others_have_others(build):
    assert keys(build()) == keys(build())
    assert len(set(keys(build()))) == 4
    assert all(a != b for a, b in zip(keys(build()), keys(build(seed=1)), strict=True))
    changed = [a != b for a, b in zip(keys(build()), keys(build(), steps=6), strict=True)]
    assert changed == [False, False, True, True]
    changed = [a != b for a, b in zip(keys(build()), keys(build(), weight=2.0), strict=True)]
    assert changed == [False, False, True, True]


def test_optimisation_from_the_mean_is_shared_by_the_encoders_of_a_generator(build):
    one = build()
    torch.manual_seed(5)
    sizes = {"num_ws": 6, "w_dim": 8, "input_size": 32}
    other = PSp(ENCODERS.build("light", **sizes), one.generator, one.latent_avg).eval()
    changed = [a != b for a, b in zip(keys(one), keys(other), strict=True)]
    assert changed == [False, True, True, False]


def test_more_passes_are_another_row(build):
    model = build("light_restyle")
    before = keys(model)[1]
    model.encoder.iterations = 2
    assert keys(model)[1] != before


def test_a_fingerprint_is_of_names_types_shapes_and_bytes():
    base = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
    same = digest_of_tensors({"b": torch.ones(2), "a": torch.zeros(3, 2).t()})
    assert same == digest_of_tensors(base)
    others = [
        {"a": torch.zeros(3, 2), "b": torch.ones(2)},
        {"a": torch.zeros(2, 3), "c": torch.ones(2)},
        {"a": torch.zeros(2, 3, dtype=torch.int32), "b": torch.ones(2)},
        {"a": torch.zeros(2, 3), "b": torch.tensor([1.0, 1.0001])},
    ]
    assert len({same, *map(digest_of_tensors, others)}) == 5


# --- names ---


@pytest.mark.parametrize(
    ("registered", "name"),
    [
        ("gradual", "pSp"),
        ("light", "pSp (light)"),
        ("light_w", "W (light_w)"),
        ("w_plus_naive", "naive W+"),
        ("light_e4e", "e4e (light_e4e)"),
        ("light_restyle", "ReStyle (light_restyle), 5 steps"),
    ],
)
def test_rows_are_called_as_the_papers_call_them(build, registered, name):
    assert paper_name(build(registered)) == name


def test_families_are_of_encoders_that_there_are():
    assert set(FAMILIES) <= set(ENCODERS.names())


def test_an_encoder_of_ones_own_has_its_own_name(build):
    model = build()
    model.encoder.built_as = {**built_as(model.encoder), "name": "mine"}
    assert paper_name(model) == "mine"


# --- models to compare ---


@pytest.fixture(scope="module")
def files(build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, model in {
        "a": build("light"),
        "b": build("light", seed=1),
        "large": build("light", resolution=32),
    }.items():
        save_model(folder / f"{name}.safetensors", model, {"task": "inversion"})
    return {path.stem: str(path) for path in folder.iterdir()}


def test_models_are_loaded_under_their_names(files, build):
    found = load_models([(None, files["a"]), ("second", files["b"])])
    assert list(found) == ["pSp (light)", "second"]
    model, metadata = found["second"]
    assert metadata["task"] == "inversion"
    assert torch.equal(model.latent_avg, build("light", seed=1).latent_avg)


def test_two_rows_of_one_name_are_refused(files):
    with pytest.raises(UserError, match=r"a.safetensors and .*b.safetensors are both called 'pSp \(light\)'"):
        load_models([(None, files["a"]), (None, files["b"])])


def test_two_resolutions_are_refused(files):
    with pytest.raises(UserError, match=r"a.safetensors renders 16 px and .*large.safetensors 32 px"):
        load_models([(None, files["a"]), ("large", files["large"])])


def test_gray_generators_are_measured_as_people_see_them(tmp_path):
    generator = GENERATORS.build(
        "stylegan2", 16, z_dim=8, w_dim=8, img_channels=1, channel_base=128, channel_max=8, mapping_layers=1
    )
    gray = PSp(ENCODERS.build("light", num_ws=6, w_dim=8, input_size=32), generator)
    save_model(tmp_path / "gray.safetensors", gray, {})
    ((model, _),) = load_models([(None, str(tmp_path / "gray.safetensors"))]).values()
    source, target = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 16, 16)
    for method in (mean_face(model), encode_and_render(model, "gray")):
        with torch.no_grad():
            output = method.render(source, target, lambda _: None)
        assert output.shape == target.shape
        assert torch.equal(output[:, 0], output[:, 2])
