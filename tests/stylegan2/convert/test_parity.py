"""Synthesised files of rosinality's and NVIDIA's layouts give the images that their own formulas give."""

import argparse

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylegan2 import convert
from stylegan2.convert import layout
from stylegan2.convert.nvidia import from_nvidia, tensor_names
from stylegan2.convert.rosinality import from_rosinality
from stylegan2.networks.registry import GENERATORS
from stylegan2.networks.sizes import feature_maps, resolutions
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.registry import built_as

W_AVG = torch.linspace(-1, 1, 16)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def rows(generator, n=2):
    return torch.randn(n, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(1))


def assert_same(generator, other):
    ours, theirs = generator.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0, msg=name)


# rosinality


@pytest.mark.parametrize("mapping_layers", [2, 8])
@pytest.mark.parametrize("channels", [1, 3])
def test_rosinality_gives_the_same_image(foreign, mapping_layers, channels):
    state = foreign.rosinality_state(mapping_layers=mapping_layers, channels=channels)
    generator = from_rosinality(state, W_AVG)
    z, ws = torch.randn(2, foreign.STYLE_DIM), rows(generator)
    with torch.no_grad():
        torch.testing.assert_close(generator.synthesis(ws), foreign.rosinality_image(state, ws), **CLOSE)
        w = foreign.rosinality_style(state, z)
        torch.testing.assert_close(generator.mapping(z), w[:, None].expand(-1, generator.num_ws, -1), **CLOSE)
        torch.testing.assert_close(generator.w_avg, W_AVG)
    assert built_as(generator)["mapping_layers"] == mapping_layers
    assert generator.img_channels == channels


@pytest.mark.parametrize("multiplier", [1, 2])
def test_channel_multipliers(foreign, multiplier):
    state = foreign.rosinality_state(foreign.paper_widths(64, multiplier, divisor=32), mapping_layers=2)
    generator = from_rosinality(state, W_AVG)
    ws = rows(generator, n=1)
    with torch.no_grad():
        torch.testing.assert_close(generator.synthesis(ws), foreign.rosinality_image(state, ws), **CLOSE)
    assert built_as(generator)["channel_base"] == 16384 * multiplier // 32
    full = {"channel_base": 16384 * multiplier, "channel_max": 512}
    assert [layout.channel_settings(foreign.paper_widths(r, multiplier)) for r in (64, 1024)] == [full, full]


def test_input_tensors_are_copied(foreign):
    state = foreign.rosinality_state()
    generator = from_rosinality(state, W_AVG)
    before = state["input.input"].clone()
    with torch.no_grad():
        generator.synthesis.const.add_(1)
    torch.testing.assert_close(state["input.input"], before, rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in generator.parameters())


def test_half_precision_becomes_float32(foreign):
    state = {name: tensor.half() for name, tensor in foreign.rosinality_state().items()}
    generator = from_rosinality(state, W_AVG.half())
    assert {tensor.dtype for tensor in generator.state_dict().values()} == {torch.float32}


def test_missing_mean_of_w_is_estimated_alike_each_time(foreign):
    state = foreign.rosinality_state(mapping_layers=2)
    torch.manual_seed(1)
    first = from_rosinality(state).w_avg
    assert torch.initial_seed() == 1
    expected = torch.rand(4)
    torch.manual_seed(1)
    torch.testing.assert_close(expected, torch.rand(4), rtol=0, atol=0)  # the caller's randomness was left alone
    torch.testing.assert_close(first, from_rosinality(state).w_avg, rtol=0, atol=0)
    mean = foreign.rosinality_style(state, torch.randn(50_000, foreign.STYLE_DIM)).mean(0)
    assert (first - mean).abs().max() < 0.1 * mean.abs().max()


def test_very_old_files_have_no_noise(foreign, tmp_path, capsys):
    state = {k: v for k, v in foreign.rosinality_state().items() if not k.startswith("noises.")}
    assert_same(from_rosinality(state, W_AVG), from_rosinality(state, W_AVG))
    torch.save({"g_ema": state, "latent_avg": W_AVG}, tmp_path / "old.pt")
    _, metadata = convert.load_foreign(tmp_path / "old.pt")
    assert metadata["notes"] == [layout.NOISE_NOTE]
    assert layout.NOISE_NOTE in capsys.readouterr().out


@pytest.mark.parametrize("legacy", [False, True])
def test_rosinality_files(foreign, tmp_path, legacy):
    state = foreign.rosinality_state(mapping_layers=2)
    options = {"_use_new_zipfile_serialization": not legacy}
    converted, trained = tmp_path / "converted.pt", tmp_path / "trained.pt"
    torch.save({"g_ema": state, "latent_avg": W_AVG}, converted, **options)
    content = {"g": state, "g_ema": state, "g_optim": {"state": {}}, "args": argparse.Namespace(size=32, path="x")}
    torch.save({**content, "ada_aug_p": 0.0}, trained, **options)

    generator, metadata = convert.load_foreign(converted)
    assert convert.recognise(converted) == convert.recognise(trained) == convert.TORCH
    assert_same(generator, from_rosinality(state, W_AVG))
    assert metadata["generator"] == built_as(generator)
    assert metadata["source"] == "rosinality"
    assert metadata["notes"] == []
    assert not generator.training

    generator, metadata = convert.load_foreign(trained)
    assert_same(generator, from_rosinality(state))
    assert metadata["notes"] == [layout.W_AVG_NOTE]


def test_rosinality_mistakes_are_named(foreign, tmp_path):
    state = foreign.rosinality_state(mapping_layers=2)

    def refused(change, *named):
        with pytest.raises(CheckpointError) as caught:
            from_rosinality(change, W_AVG)
        assert all(name in str(caught.value) for name in named), str(caught.value)
        assert "\n" not in str(caught.value)

    refused({k: v for k, v in state.items() if k != "convs.1.noise.weight"}, "missing", "convs.1.noise.weight")
    refused({k: v for k, v in state.items() if k != "noises.noise_2"}, "missing", "noises.noise_2")
    refused(state | {"embed.weight": torch.zeros(1)}, "not known", "embed.weight")
    refused({f"decoder.{k}": v for k, v in state.items()}, "decoder.input.input", "missing")
    refused(state | {"to_rgbs.0.conv.weight": torch.zeros(1, 3, 5, 1, 1)}, "to_rgbs.0.conv.weight", "5")
    refused(state | {"conv1.conv.modulation.weight": torch.zeros(16, 12)}, "conv1.conv.modulation.weight", "[12, 16]")
    refused(state | {"style.1.weight": torch.zeros(16)}, "style.1.weight", "must be a matrix")
    refused(state | {"convs.0.conv.blur.kernel": foreign.KERNEL}, "convs.0.conv.blur.kernel")
    refused({}, "missing")
    with pytest.raises(CheckpointError, match="latent_avg"):
        from_rosinality(state, torch.zeros(3, 16))


def test_other_widths_and_sizes_are_refused(foreign):
    with pytest.raises(CheckpointError, match="widths"):
        from_rosinality(foreign.rosinality_state({4: 8, 8: 12, 16: 12}), W_AVG)
    with pytest.raises(UserError, match="from 8 to 4096, not 4"):
        from_rosinality(foreign.rosinality_state({4: 8}), W_AVG)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"state_dict": {}, "opts": {}}, "encoder"),
        ({"g": {}}, "'g'"),
        ({}, "nothing"),
        ([1], "list"),
        ({"g_ema": {"a": 1}}, "missing"),
        ({"g_ema": {}, "latent_avg": 1}, "missing"),
        ({"g_ema": {}}, "missing"),
    ],
)
def test_other_torch_files_are_refused(tmp_path, content, named):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=named) as caught:
        convert.load_foreign(tmp_path / "x.pt")
    assert "x.pt" in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.integers(4, 10), st.integers(1024, 70000), st.integers(1, 512))
def test_channel_settings_give_the_widths_back(log_resolution, base, maximum):
    sizes = resolutions(2**log_resolution)
    widths = {r: feature_maps(r, base, maximum) for r in sizes}
    found = layout.channel_settings(widths)
    assert {r: feature_maps(r, **found) for r in sizes} == widths


# NVIDIA


@pytest.mark.parametrize("mapping_layers", [2, 8])
@pytest.mark.parametrize("protocol", [3, 4])
def test_nvidia_gives_the_same_image(foreign, tmp_path, mapping_layers, protocol):
    state = foreign.rosinality_state(mapping_layers=mapping_layers)
    marker = tmp_path / "executed"
    source = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    tensors = foreign.nvidia_state(state, W_AVG)
    attributes = {"synthesis.b4.conv1.conv_clamp": None, "synthesis.b4.conv1.activation": "lrelu"}
    path = foreign.nvidia_pickle(tmp_path / "network.pkl", tensors, attributes, protocol, source)

    assert convert.recognise(path) == convert.PICKLE
    generator, metadata = convert.load_foreign(path)
    assert not marker.exists()
    assert_same(generator, from_rosinality(state, W_AVG))
    assert metadata["source"] == "nvidia"
    assert metadata["notes"] == []
    assert metadata["generator"]["conv_clamp"] is None
    ws = rows(generator)
    with torch.no_grad():
        torch.testing.assert_close(generator.synthesis(ws), foreign.rosinality_image(state, ws), **CLOSE)


def test_pickles_of_older_numpy(foreign, tmp_path):
    path = foreign.nvidia_pickle(
        tmp_path / "n.pkl", foreign.nvidia_state(foreign.rosinality_state(), W_AVG), protocol=3
    )
    data = path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert data.count(b"cnumpy.core.multiarray\n") == 1
    path.write_bytes(data)
    assert convert.load_foreign(path)[1]["source"] == "nvidia"


def test_settings_that_no_tensor_tells(foreign, tmp_path):
    tensors = foreign.nvidia_state(foreign.rosinality_state(), W_AVG)
    path = foreign.nvidia_pickle(tmp_path / "ada.pkl", tensors)  # synthesis_kwargs of the generator
    assert built_as(convert.load_foreign(path)[0])["conv_clamp"] == 256
    path = foreign.nvidia_pickle(tmp_path / "sg3.pkl", tensors, {"_init_kwargs": {"conv_clamp": 64}})
    assert built_as(convert.load_foreign(path)[0])["conv_clamp"] == 64
    path = foreign.nvidia_pickle(tmp_path / "none.pkl", tensors, {"_init_kwargs": {}, "mapping.fc0.bias_gain": 0.5})
    config = built_as(convert.load_foreign(path)[0])
    assert config["conv_clamp"] is None
    assert config["mapping_lr_multiplier"] == 0.5


def test_clamp_acts(foreign, tmp_path):
    tensors = foreign.nvidia_state(foreign.rosinality_state(), W_AVG)
    attributes = {"_init_kwargs": {"conv_clamp": 0.25}}
    generator, _ = convert.load_foreign(foreign.nvidia_pickle(tmp_path / "n.pkl", tensors, attributes))
    with torch.no_grad():
        image = generator.synthesis(rows(generator))
    assert image.abs().max() <= 0.25 * 4  # four ToRGB outputs, each at most 0.25


@pytest.mark.parametrize("architecture", ["skip", "residual", "plain"])
@pytest.mark.parametrize("resolution", [16, 64])
def test_architecture_is_read_from_the_names(foreign, tmp_path, architecture, resolution):
    own = GENERATORS.build("stylegan2", resolution, 2, 6, 5, 128, 9, mapping_layers=2, architecture=architecture)
    names = tensor_names(len(own.synthesis.layers) // 2, 2, architecture) | {"mapping.w_avg": "mapping.w_avg"}
    state = {names[name]: torch.randn(tensor.shape) for name, tensor in own.state_dict().items()}
    own.load_state_dict({name: state[names[name]].reshape(t.shape) for name, t in own.state_dict().items()})
    state["synthesis.b4.const"] = state["synthesis.b4.const"][0]
    expected_skips = resolution.bit_length() - 3 if architecture == "residual" else 0
    assert sum(".skip." in name for name in state) == expected_skips
    assert sum(name.endswith("torgb.weight") for name in state) == (
        resolution.bit_length() - 2 if architecture == "skip" else 1
    )
    generator, _ = convert.load_foreign(foreign.nvidia_pickle(tmp_path / "n.pkl", state, {"_init_kwargs": {}}))
    assert built_as(generator)["architecture"] == architecture
    assert_same(generator, own)
    with torch.no_grad():
        torch.testing.assert_close(generator.synthesis(rows(generator)), own.synthesis(rows(own)))


def test_channels_last_weights_are_read(foreign, tmp_path):
    tensors = foreign.nvidia_state(foreign.rosinality_state(), W_AVG)
    strided = {k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in tensors.items()}
    generator, _ = convert.load_foreign(foreign.nvidia_pickle(tmp_path / "n.pkl", strided, {"_init_kwargs": {}}))
    assert_same(generator, from_nvidia(tensors))


def test_networks_without_noise_or_mean_of_w(foreign, tmp_path):
    tensors = {k: v for k, v in foreign.nvidia_state(foreign.rosinality_state(), None).items() if ".noise_" not in k}
    generator, metadata = convert.load_foreign(foreign.nvidia_pickle(tmp_path / "n.pkl", tensors))
    assert metadata["notes"] == [layout.W_AVG_NOTE]
    ws = rows(generator)
    with torch.no_grad():
        torch.testing.assert_close(generator.synthesis(ws), generator.synthesis(ws, noise_mode="none"))
    assert generator.w_avg.abs().sum() > 0


def test_other_nvidia_networks_are_refused(foreign, tmp_path):
    tensors = foreign.nvidia_state(foreign.rosinality_state(), W_AVG)

    def refused(named, changed, attributes=None):
        path = foreign.nvidia_pickle(tmp_path / "n.pkl", changed, attributes)
        with pytest.raises(CheckpointError, match=named) as caught:
            convert.load_foreign(path)
        assert "\n" not in str(caught.value)

    refused("class-conditional.*without an embedding", tensors, {"c_dim": 10})
    refused("embed", tensors | {"mapping.embed.weight": torch.zeros(2, 2)})
    refused("b4.const", {"synthesis.b8.conv0.weight": torch.zeros(1)})
    refused("sine", tensors, {"synthesis.b8.conv0.activation": "sine"})
    refused("conv_clamp", tensors, {"synthesis.b4.conv1.conv_clamp": "wide"})
    refused("conv_clamp", tensors, {"_init_kwargs": {"conv_clamp": [1]}})
    refused("mapping_lr_multiplier", tensors, {"mapping.fc0.bias_gain": -1})
    refused("b8.conv0.resample_filter", tensors | {"synthesis.b8.conv0.resample_filter": torch.ones(2, 2)})
    refused("missing.*b16.conv1.noise_const", {k: v for k, v in tensors.items() if "b16.conv1.noise_const" not in k})
    refused("not known.*b16.film", tensors | {"synthesis.b16.film": torch.zeros(1)})
    refused("missing.*fc0.weight", {k: v for k, v in tensors.items() if "fc" not in k})
