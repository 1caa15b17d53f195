"""Files of lucidrains/stylegan2-pytorch give the images that its formula gives, and are used as any generator."""

import json
import math

import pytest
import torch

from stylegan2 import convert, load, save_generator
from stylegan2.convert import layout, lucidrains
from stylegan2.convert.lucidrains import from_lucidrains
from stylegan2.networks.registry import GENERATORS
from stylegan2.networks.sizes import feature_maps, resolutions
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.registry import built_as

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def write(path, content, **options):
    torch.save(content, path, **options)
    return path


def codes(generator, n=2):
    return torch.randn(n, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(1))


def their_noise(generator, count):
    """The stored map in their terms: [N, R, R, 1], width before height, uniform in [0, 1]."""
    return (0.5 + generator.synthesis.noise_const.t() / math.sqrt(12)).expand(count, -1, -1)[..., None]


def assert_their_image(foreign, content, generator):
    ws = codes(generator)
    with torch.no_grad():
        theirs = foreign.lucidrains_image(content["GAN"], ws, their_noise(generator, len(ws)))
        assert theirs.std() > 0.1
        torch.testing.assert_close((generator.synthesis(ws) + 1) / 2, theirs, **CLOSE)
        torch.testing.assert_close((generator.synthesis(ws[:1]) + 1) / 2, theirs[:1], **CLOSE)


@pytest.mark.parametrize("depth", [2, 8])
@pytest.mark.parametrize("capacity", [2, 4])
@pytest.mark.parametrize("legacy", [False, True])
def test_the_same_image(foreign, tmp_path, depth, capacity, legacy):
    content = foreign.lucidrains_content(64, capacity, depth)
    path = write(tmp_path / "model_3.pt", content, _use_new_zipfile_serialization=not legacy)
    generator, metadata = convert.load_foreign(path)
    assert_their_image(foreign, content, generator)
    z = torch.randn(3, foreign.STYLE_DIM)
    w = foreign.lucidrains_style(content["GAN"], z)
    with torch.no_grad():
        ws = generator.mapping(z)
        torch.testing.assert_close(ws, w[:, None].expand_as(ws), rtol=1e-5, atol=1e-6)
        truncated = generator.mapping(z, truncation_psi=0.75)[:, 0]
        torch.testing.assert_close(truncated, 0.75 * (w - generator.w_avg) + generator.w_avg, rtol=1e-5, atol=1e-6)
    assert (generator.num_ws, built_as(generator)["mapping_layers"]) == (5, depth)
    assert metadata["source"] == "lucidrains"
    assert metadata["generator"] == built_as(generator)
    assert not generator.training


@pytest.mark.parametrize("change", [{"channels": 4}, {"no_const": True}, {"fmap_max": 6}, {"resolution": 16}])
def test_variants(foreign, tmp_path, change):
    content = foreign.lucidrains_content(**change)
    generator, _ = convert.load_foreign(write(tmp_path / "m.pt", content))
    assert_their_image(foreign, content, generator)
    assert generator.img_channels == change.get("channels", 3)
    assert built_as(generator)["learned_const"] == ("no_const" not in change)


def test_versions_without_a_filter_in_the_image(foreign, tmp_path):
    """Up to version 1.1."""
    content = foreign.lucidrains_content()
    content["GAN"] = {name: tensor for name, tensor in content["GAN"].items() if ".upsample." not in name}
    generator, _ = convert.load_foreign(write(tmp_path / "m.pt", content))
    assert built_as(generator)["rgb_blur"] is False
    assert_their_image(foreign, content, generator)


def test_versions_that_save_the_tensors_alone(foreign, tmp_path):
    content = foreign.lucidrains_content()
    state = {**content["GAN"], "GE.initial_block": content["GAN"]["GE.initial_block"][0]}
    assert_their_image(foreign, content, convert.load_foreign(write(tmp_path / "m.pt", state))[0])


def test_widths_are_those_of_the_paper(foreign):
    for resolution, capacity, most in ((128, 16, 512), (256, 16, 512), (1024, 32, 512), (64, 8, 100)):
        widths = dict(zip(resolutions(resolution), foreign.lucidrains_widths(resolution, capacity, most), strict=True))
        found = layout.channel_settings(widths)
        assert {r: feature_maps(r, **found) for r in widths} == widths
        assert found["channel_base"] == 2 * resolution * capacity


def test_weights_of_the_training_where_there_are_no_averaged_ones(foreign, tmp_path):
    content = foreign.lucidrains_content()
    state = {name: tensor for name, tensor in content["GAN"].items() if not name.startswith(("SE.", "GE."))}
    generator, _ = convert.load_foreign(write(tmp_path / "m.pt", {"GAN": state}))
    averaged, _ = convert.load_foreign(write(tmp_path / "e.pt", content))
    ws = codes(generator)
    with torch.no_grad():
        theirs = foreign.lucidrains_image(state, ws, their_noise(generator, 2), "G")
        torch.testing.assert_close((generator.synthesis(ws) + 1) / 2, theirs, **CLOSE)
        assert (averaged.synthesis(ws) - generator.synthesis(ws)).abs().max() > 0.1


def test_the_multiplier_of_the_mapping_network_is_read_beside_the_file(foreign, tmp_path, capsys):
    content = foreign.lucidrains_content()
    path = write(tmp_path / "model_1.pt", content)
    z = torch.randn(2, foreign.STYLE_DIM)
    for text, expected in (("", 0.1), ('{"image_size": 32}', 0.1), ('{"lr_mlp": 0.02}', 0.02)):
        (tmp_path / ".config.json").write_text(text)
        generator, metadata = convert.load_foreign(path)
        w = foreign.lucidrains_style(content["GAN"], z, expected)
        with torch.no_grad():
            torch.testing.assert_close(generator.mapping(z)[:, 0], w, rtol=1e-5, atol=1e-6)
        assert (lucidrains.LR_NOTE in metadata["notes"]) == (expected == 0.1)
    assert "lr_mlp" in capsys.readouterr().out
    (tmp_path / ".config.json").write_text('{"lr_mlp": "fast"}')
    with pytest.raises(CheckpointError, match="lr_mlp"):
        convert.load_foreign(path)


def test_mean_of_w(foreign, tmp_path):
    content = foreign.lucidrains_content()
    generator, metadata = convert.load_foreign(write(tmp_path / "m.pt", content))
    mean = foreign.lucidrains_style(content["GAN"], torch.randn(50_000, foreign.STYLE_DIM)).mean(0)
    assert (generator.w_avg - mean).abs().max() < 0.05 * mean.abs().max()
    assert layout.W_AVG_NOTE in metadata["notes"]
    assert layout.NOISE_NOTE in metadata["notes"]


def test_noise(foreign):
    content = foreign.lucidrains_content()
    state = {name.replace("E.", ".", 1): t for name, t in content["GAN"].items() if name.startswith(("SE.", "GE."))}
    generator = from_lucidrains(state).eval()
    noise = generator.synthesis.noise_const
    assert noise.shape == (32, 32)
    assert abs(noise.mean()) < 0.1
    assert abs(noise.square().mean() - 1) < 0.1
    assert 1.7 < noise.abs().max() <= 3**0.5
    ws = codes(generator)
    with torch.no_grad():
        none = (generator.synthesis(ws, noise_mode="none") + 1) / 2
        theirs = foreign.lucidrains_image(state, ws, torch.full((2, 32, 32, 1), 0.5), "G")
        torch.testing.assert_close(none, theirs, **CLOSE)
        drawn = [generator.synthesis(ws, noise_mode="random") for _ in range(2)]
        assert (drawn[0] - drawn[1]).abs().mean() > 1e-3
        torch.testing.assert_close(generator.synthesis(ws), generator.synthesis(ws), rtol=0, atol=0)
        generator.synthesis.noise_const = noise.expand(2, 1, -1, -1) * torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1)
        own = generator.synthesis(ws)  # a map for each sample, as the projector has them
        torch.testing.assert_close((own[1] + 1) / 2, none[1])
        assert (own[0] - 2 * none[0] + 1).abs().max() > 1e-2


def test_a_file_of_ours(foreign, tmp_path):
    generator, metadata = load(write(tmp_path / "m.pt", foreign.lucidrains_content(no_const=True)))
    assert GENERATORS["lucidrains"] is type(generator)
    save_generator(tmp_path / "ours.safetensors", generator, metadata)
    again, kept = load(tmp_path / "ours.safetensors")
    assert kept["source"] == "lucidrains"
    ws = codes(generator)
    with torch.no_grad():
        torch.testing.assert_close(again.synthesis(ws), generator.synthesis(ws), rtol=0, atol=0)
        torch.testing.assert_close(again.w_avg, generator.w_avg, rtol=0, atol=0)


def test_gradients_and_other_number_types(foreign):
    generator = from_lucidrains(
        {n.replace("E.", ".", 1): t for n, t in foreign.lucidrains_content()["GAN"].items() if n[:3] in ("SE.", "GE.")}
    )
    ws = codes(generator).requires_grad_()
    generator.synthesis(ws).square().mean().backward()
    assert (ws.grad.abs().sum(2) > 0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.synthesis.parameters())
    with torch.no_grad():
        expected = generator.synthesis(ws)
        with torch.autocast("cpu", torch.bfloat16):
            rough = generator.synthesis(ws).float()
        assert (rough - expected).abs().mean() < 0.05 * expected.abs().mean()
        torch.testing.assert_close(generator.double().synthesis(ws.double()).float(), expected, **CLOSE)


def test_labels_are_refused(foreign, tmp_path):
    generator, _ = load(write(tmp_path / "m.pt", foreign.lucidrains_content()))
    assert generator(torch.randn(1, generator.z_dim)).shape == (1, 3, 32, 32)
    with pytest.raises(UserError, match="not conditioned"):
        generator(torch.randn(1, generator.z_dim), labels=torch.zeros(1, dtype=torch.int64))


def test_mistakes_are_named(foreign, tmp_path):
    state = foreign.lucidrains_content()["GAN"]

    def refused(changed, *named):
        path = write(tmp_path / "m.pt", {"GAN": changed})
        with pytest.raises(CheckpointError) as caught:
            convert.load_foreign(path)
        assert all(name in str(caught.value) for name in ("m.pt", *named)), str(caught.value)
        assert "\n" not in str(caught.value)

    def without(*parts):
        return {name: tensor for name, tensor in state.items() if not any(part in name for part in parts)}

    refused(state | {"GE.attns.2.0.fn.fn.to_q.weight": torch.zeros(1)}, "attention layers", "not supported")
    refused(without("initial_conv"), "before version 0.20")
    refused(without("GE.blocks.1.to_noise2.bias"), "missing", "blocks.1.to_noise2.bias")
    refused(without("GE.blocks.1.conv1.weight"), "missing", "blocks.1.conv1.weight")
    refused(without("GE.initial_block"), "missing", "initial_block")
    refused(without("SE."), "missing", "S.net.0.weight")
    refused(without("SE.net.2.weight"), "missing", "S.net.2.weight")
    refused(state | {"GE.style.weight": torch.zeros(1)}, "not known", "G.style.weight")
    refused(state | {"GE.blocks.0.to_rgb.upsample.1.f": torch.ones(3)}, "filter")
    refused(state | {"GE.blocks.2.conv1.weight": torch.zeros(2, 2, 3, 3)}, "blocks.2.conv1.weight", "[2, 2, 3, 3]")
    refused(state | {"SE.net.0.weight": torch.zeros(16)}, "S.net.0.weight", "must be a matrix")
    refused(state | {"GE.blocks.1.to_noise1.bias": torch.zeros(9)}, "widths")
    refused({**state, "GE.blocks.0.extra": 1}, "not tensors")
    refused({"GE.blocks.0.x": torch.zeros(1)}, "before version 0.20")
    (tmp_path / ".config.json").write_text(json.dumps({"lr_mlp": -1}))
    refused(state, "lr_mlp", "-1")
