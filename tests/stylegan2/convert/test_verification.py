"""The self-check passes for what is right, at both widths and depths, and sees what is wrong."""

import math

import pytest
import torch

from stylegan2 import convert
from stylegan2.convert import formula, rosinality
from stylegan2.convert.layout import Stored
from stylegan2.convert.lucidrains import extract, plain_names
from stylegan2.convert.nvidia import tensor_names
from stylegan2.convert.verification import Check, compare, compared, require, verify
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.registry import built_as

SOURCES = ("rosinality", "nvidia", "lucidrains")
MEASURED = ["w", "truncated w", "image of 64 px"]


@pytest.fixture
def stored(foreign, tmp_path):
    """`stored(source, multiplier, mapping_layers, resolution)`: a file, opened."""

    def stored(source, multiplier=1, mapping_layers=2, resolution=64):
        path = tmp_path / f"{source}.file"
        if source == "lucidrains":
            torch.save(foreign.lucidrains_content(resolution, 4 * multiplier, mapping_layers), path)
            return convert.open_foreign(path)
        widths = foreign.paper_widths(resolution, multiplier, divisor=32)
        state = foreign.rosinality_state(widths, mapping_layers)
        w_avg = torch.linspace(-1, 1, foreign.STYLE_DIM)
        if source == "rosinality":
            torch.save({"g_ema": state, "latent_avg": w_avg}, path)
        else:
            foreign.nvidia_pickle(path, foreign.nvidia_state(state, w_avg))
        return convert.open_foreign(path)

    return stored


@pytest.mark.parametrize("mapping_layers", [2, 8])
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("source", SOURCES)
def test_every_format_at_both_widths_and_depths(stored, source, multiplier, mapping_layers):
    checks = list(verify(stored(source, multiplier, mapping_layers)))
    assert all(check.passed for check in checks), checks
    measured = [check.text.split(":")[0] for check in checks if "largest difference" in check.text]
    assert measured == [name for name in MEASURED if source != "lucidrains" or name != "truncated w"]
    assert f"{source}: 64 px" in checks[0].text


@pytest.mark.parametrize("source", SOURCES)
def test_a_tensor_that_differs_is_seen(stored, source):
    """Every one of them, also those which all formats could swap without another shape."""
    content = stored(source, resolution=16)
    generator, _ = convert.build(content)
    for name in content.tensors:
        if name.endswith((".kernel", "resample_filter", "upsample.1.f")):
            continue
        changed = {**content.tensors, name: content.tensors[name] * 1.5 + 0.1}
        results = list(compare(generator, content._replace(tensors=changed)))
        assert not all(check.passed for check in results), name


@pytest.mark.parametrize("part", ["mapping", "synthesis"])
def test_another_generator_is_seen(stored, part):
    content = stored("rosinality")
    generator, _ = convert.build(content)
    with torch.no_grad():
        next(iter(getattr(generator, part).parameters())).mul_(1.01)
    failed = [check.text.split(":")[0] for check in compare(generator, content) if not check.passed]
    assert failed == (["w", "truncated w"] if part == "mapping" else ["image of 64 px"])


def test_rows_of_w_plus_that_are_swapped_are_seen(stored):
    content = stored("nvidia")
    generator, _ = convert.build(content)
    synthesis = generator.synthesis.forward
    generator.synthesis.forward = lambda ws, *rest: synthesis(ws[:, [1, 0, *range(2, ws.shape[1])]], *rest)
    assert [check.passed for check in compare(generator, content)] == [True, True, False]


def test_nan_does_not_pass():
    assert not compared("w", torch.tensor([1.0, math.nan]), torch.ones(2)).passed
    assert not compared("w", torch.ones(2), torch.tensor([1.0, math.nan])).passed


def test_differences_are_relative():
    assert not compared("w", torch.tensor([1e-3]), torch.tensor([1.01e-3])).passed
    assert compared("w", torch.tensor([1e3]), torch.tensor([1e3 + 0.01])).passed
    assert compared("w", torch.zeros(1), torch.zeros(1)).passed


def test_nothing_is_written_after_a_check_that_fails():
    checks = iter([Check(True, "fine"), Check(False, "off by a mile"), Check(True, "never asked")])
    lines = require(checks)
    assert next(lines) == "fine"
    with pytest.raises(CheckpointError, match="off by a mile"):
        next(lines)


def test_a_file_that_cannot_be_built_is_one_failed_check(stored):
    content = stored("lucidrains")
    del content.tensors["GE.initial_conv.bias"]
    (check,) = verify(content)
    assert not check.passed
    assert "initial_conv.bias" in check.text


def test_files_without_noise_or_mean_of_w(stored):
    content = stored("rosinality")
    bare = {name: t for name, t in content.tensors.items() if not name.startswith(("noises.", "latent_avg"))}
    checks = list(verify(content._replace(tensors=bare)))
    assert all(check.passed for check in checks)
    assert sum("the file contains no" in check.text for check in checks) == 2
    content = stored("nvidia")
    bare = {name: t for name, t in content.tensors.items() if ".noise_" not in name}
    assert all(check.passed for check in verify(content._replace(tensors=bare)))


@pytest.mark.parametrize("clamp", [None, 0.25])
@pytest.mark.parametrize("architecture", ["skip", "residual", "plain"])
def test_every_architecture_of_nvidia(foreign, tmp_path, architecture, clamp):
    own = GENERATORS.build("stylegan2", 32, 2, 6, 5, 128, 9, 2, 0.02, architecture)
    names = tensor_names(3, 2, architecture) | {"mapping.w_avg": "mapping.w_avg"}
    state = {names[name]: torch.randn(tensor.shape) for name, tensor in own.state_dict().items()}
    state["synthesis.b4.const"] = state["synthesis.b4.const"][0]
    attributes = {"_init_kwargs": {"conv_clamp": clamp}, "mapping.fc0.bias_gain": 0.02}
    content = convert.open_foreign(foreign.nvidia_pickle(tmp_path / "n.pkl", state, attributes))
    checks = list(verify(content, torch.float64))
    assert all(check.passed for check in checks), checks
    other = content._replace(settings={**content.settings, "conv_clamp": 0.2})
    generator, _ = convert.build(content)
    assert not all(check.passed for check in compare(generator, other))


@pytest.mark.parametrize("z_dim", [16, 5])
def test_conditional_generators_of_nvidia(foreign, tmp_path, z_dim):
    state = foreign.nvidia_state(foreign.rosinality_state(mapping_layers=2), torch.linspace(-1, 1, 16))
    state |= {"mapping.embed.weight": torch.randn(16, 3), "mapping.embed.bias": torch.randn(16)}
    state["mapping.fc0.weight"] = 100 * torch.randn(16, z_dim + 16)
    path = foreign.nvidia_pickle(tmp_path / "n.pkl", state, {"c_dim": 3, "mapping.fc0.bias_gain": 0.01})
    generator, metadata = convert.load_foreign(path)
    assert (generator.z_dim, generator.num_classes) == (z_dim, 3)
    assert metadata["generator"]["num_classes"] == 3
    assert all(check.passed for check in verify(convert.open_foreign(path)))

    def unit(x):
        return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()

    z, labels = torch.randn(4, z_dim), torch.tensor([0, 2, 1, 2])
    embedded = state["mapping.embed.weight"].t()[labels] / math.sqrt(3) + state["mapping.embed.bias"]
    x = torch.cat([unit(z), unit(embedded)], dim=1)
    for i in range(2):
        weight = state[f"mapping.fc{i}.weight"]
        x = x @ weight.t() * 0.01 / math.sqrt(weight.shape[1]) + state[f"mapping.fc{i}.bias"] * 0.01
        x = torch.nn.functional.leaky_relu(x, 0.2) * math.sqrt(2)
    with torch.no_grad():
        torch.testing.assert_close(generator.mapping(z, labels=labels)[:, 0], x, rtol=1e-4, atol=1e-5)


# the formulas, against the naive forward passes of conftest


def test_formulas_equal_the_naive_passes(foreign):
    state = foreign.rosinality_state(mapping_layers=3)
    z, ws = torch.randn(2, 16, dtype=torch.float64), torch.randn(2, 8, 16, dtype=torch.float64)
    wide = {name: tensor.double() for name, tensor in state.items()}
    p = formula.Parameters(state, "", torch.float64)
    torch.testing.assert_close(formula.rosinality_w(p, z), foreign.rosinality_style(wide, z))
    close = {"rtol": 1e-6, "atol": 1e-6}  # the naive pass has its filter in float32
    assert ws.shape[1] == 2 * 3 + 2
    image = formula.rosinality_image(p, ws)
    torch.testing.assert_close(image.float(), foreign.rosinality_image(state, ws.float()), rtol=1e-4, atol=1e-4)
    p = formula.Parameters(foreign.nvidia_state(state, None), "", torch.float64)
    torch.testing.assert_close(formula.nvidia_w(p, z, 0.01), foreign.rosinality_style(wide, z))
    torch.testing.assert_close(formula.nvidia_image(p, ws), image, **close)


@pytest.mark.parametrize("no_const", [False, True])
def test_the_formula_of_lucidrains_equals_the_naive_pass(foreign, tmp_path, no_const):
    content = foreign.lucidrains_content(no_const=no_const)
    p = formula.Parameters(plain_names(extract(content, tmp_path)), "", torch.float64)
    wide = {name: tensor.double() for name, tensor in content["GAN"].items()}
    z, ws = torch.randn(2, 16, dtype=torch.float64), torch.randn(2, 4, 16, dtype=torch.float64)
    torch.testing.assert_close(formula.lucidrains_w(p, z, 0.1), foreign.lucidrains_style(wide, z))
    noise = torch.rand(2, 32, 32, dtype=torch.float64)
    image = foreign.lucidrains_image(wide, ws, noise[..., None])
    torch.testing.assert_close(formula.lucidrains_image(p, ws, noise), image)


# rosinality's layout, written


@pytest.mark.parametrize("mapping_layers", [2, 8])
@pytest.mark.parametrize("base", [512, 1024])
def test_what_is_written_for_rosinality_gives_the_same_image_there(foreign, base, mapping_layers):
    own = GENERATORS.build("stylegan2", 64, 3, 16, 16, base, 16, mapping_layers, mapping_lr_multiplier=0.05)
    torch.nn.init.normal_(own.w_avg)
    for name, parameter in own.named_parameters():
        if "noise_strength" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    content = rosinality.file_content(rosinality.store(own))
    assert all(check.passed for check in compare(own, rosinality.store(own)))
    assert content.keys() == {"g_ema", "latent_avg"}
    expected = foreign.rosinality_state({r: min(base // r, 16) for r in (4, 8, 16, 32, 64)}, mapping_layers)
    assert {k: v.shape for k, v in content["g_ema"].items()} == {k: v.shape for k, v in expected.items()}
    z, ws = torch.randn(2, 16), torch.randn(2, own.num_ws, 16)
    with torch.no_grad():
        image = foreign.rosinality_image(content["g_ema"], ws)
        torch.testing.assert_close(own.synthesis(ws), image, rtol=1e-4, atol=1e-4)
        w = foreign.rosinality_style(content["g_ema"], z)
        torch.testing.assert_close(own.mapping(z)[:, 0], w, rtol=1e-4, atol=1e-5)
    assert torch.equal(content["latent_avg"], own.w_avg)
    again = rosinality.build(Stored("rosinality", {**content["g_ema"], "latent_avg": own.w_avg}, {}))[0]
    assert built_as(again)["mapping_lr_multiplier"] == 0.01


def test_what_rosinality_has_no_place_for(foreign):
    for settings, named in (
        ({"architecture": "residual"}, "architecture is residual"),
        ({"architecture": "plain"}, "architecture is plain"),
        ({"num_classes": 2}, "conditioned on classes"),
    ):
        with pytest.raises(UserError, match=named) as caught:
            rosinality.store(GENERATORS.build("stylegan2", 16, 3, 8, 8, 64, 4, 1, **settings))
        assert "\n" not in str(caught.value)
    assert rosinality.export_problems(GENERATORS.build("pggan", 16)) == ["it is a pggan generator, not a stylegan2 one"]


def test_what_that_projects_code_would_have_to_be_told():
    for base in (16384, 32768):
        with torch.device("meta"):
            generator = GENERATORS.build("stylegan2", 256, channel_base=base)
        assert rosinality.differences(generator) == []
    with torch.device("meta"):
        generator = GENERATORS.build("stylegan2", 64, 1, 6, 8, 256, 16, 2, conv_clamp=256)
    widths, z, channels, clamp = rosinality.differences(generator)
    assert "{4: 16, 8: 16, 16: 16, 32: 8, 64: 4}" in widths
    assert "6 numbers" in z
    assert "these have 1" in channels
    assert "256" in clamp
