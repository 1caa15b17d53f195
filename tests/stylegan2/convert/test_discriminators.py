"""Discriminators of other projects judge as theirs do, and a training starts from all that their files hold."""

import pytest
import torch
from safetensors.torch import save_file

import stylegan2
from stylegan2 import convert, transfer
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.runtime.errors import CheckpointError

SIZES = {"img_resolution": 32, "img_channels": 3, "channel_base": 128, "channel_max": 12}


def plus(state, number):
    return {name: tensor if name.endswith(("kernel", "filter")) else tensor + number for name, tensor in state.items()}


@pytest.fixture
def files(foreign, tmp_path):
    """One training as rosinality's code, NVIDIA's and somebody's safetensors file hold it."""
    ema, d = foreign.rosinality_state(), foreign.rosinality_discriminator()
    torch.save({"g": plus(ema, 0.5), "d": d, "g_ema": ema, "latent_avg": torch.ones(16)}, tmp_path / "ros.pt")
    of_nvidia, mean = foreign.nvidia_state(ema, torch.ones(16)), torch.ones(16)
    training = (foreign.nvidia_state(plus(ema, 0.5), mean), foreign.nvidia_discriminator(d, 32))
    foreign.nvidia_pickle(tmp_path / "nvidia.pkl", of_nvidia, training=training)
    flat = {f"{prefix}.{name}": t for prefix, s in (("g_ema", ema), ("d", d)) for name, t in s.items()}
    save_file({name: t.contiguous().clone() for name, t in flat.items()}, tmp_path / "some.safetensors")
    return {"ros": tmp_path / "ros.pt", "nvidia": tmp_path / "nvidia.pkl", "safetensors": tmp_path / "some.safetensors"}


@pytest.mark.parametrize("name", ["ros", "nvidia", "safetensors"])
def test_the_discriminator_judges_as_theirs(foreign, files, name):
    stored = convert.read_training(files[name])
    D = DISCRIMINATORS.build_from("stylegan2", SIZES)
    D.load_state_dict({key.removeprefix("D."): t for key, t in stored.items() if key.startswith("D.")})
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = foreign.rosinality_logits(foreign.rosinality_discriminator(), images)
        torch.testing.assert_close(D(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max())


@pytest.mark.parametrize("name", ["ros", "nvidia", "safetensors"])
def test_a_training_starts_from_all_of_it(files, name, capsys):
    generator, initial = transfer.read(files[name], freeze_d=2)
    settings = dict(SIZES, z_dim=16, w_dim=16, mapping_layers=8)
    networks = {n: GENERATORS.build_from("stylegan2", settings) for n in ("G", "G_ema")}
    networks["D"] = DISCRIMINATORS.build_from("stylegan2", SIZES)
    start = transfer.start(networks, initial, "theirs", freeze_d=2)
    said = capsys.readouterr().out
    assert "new:" not in said
    assert "not used" not in said
    bias = "synthesis.layers.0.bias"
    between = 0.0 if name == "safetensors" else 0.5  # which has the averaged generator alone
    torch.testing.assert_close(start[f"G.{bias}"] - start[f"G_ema.{bias}"], torch.full([12], between))
    assert torch.equal(start[f"G_ema.{bias}"], generator.state_dict()[bias])


def test_a_conditional_discriminator_of_nvidia(foreign, tmp_path):
    D = DISCRIMINATORS.build_from("stylegan2", {**SIZES, "num_classes": 3})
    theirs = foreign.nvidia_discriminator(foreign.rosinality_discriminator(), 32)
    theirs |= {"b4.out.weight": torch.randn(12, 12), "b4.out.bias": torch.randn(12)}
    theirs |= {"mapping.embed.weight": torch.randn(12, 3), "mapping.embed.bias": torch.randn(12)}
    for i in range(8):
        theirs |= {f"mapping.fc{i}.weight": torch.randn(12, 12), f"mapping.fc{i}.bias": torch.randn(12)}
    torch.save({"D": theirs}, tmp_path / "d.pt")
    stored = convert.read_training(tmp_path / "d.pt")
    found = transfer.fit(D, {name.removeprefix("D."): tensor for name, tensor in stored.items()})
    assert (found.new, found.unused) == ([], [])
    assert torch.equal(found.tensors["projection.layers.7.bias"], theirs["mapping.fc7.bias"])


def test_a_discriminator_of_another_architecture_is_said(foreign, tmp_path, capsys):
    torch.save(foreign.lucidrains_content(), tmp_path / "model_1.pt")
    stored = convert.read_training(tmp_path / "model_1.pt")
    assert list(stored) == ["D.blocks.0.conv_res.weight"]
    D = DISCRIMINATORS.build_from("stylegan2", SIZES)
    transfer.start({"D": D}, stored, "model_1.pt")
    assert "new: all of D, because the one in the file is of another kind" in capsys.readouterr().out


def test_another_filter_is_refused(foreign, tmp_path):
    d = foreign.rosinality_discriminator() | {"convs.1.conv2.0.kernel": torch.full([4, 4], 1 / 16)}
    torch.save({"d": d}, tmp_path / "d.pt")
    with pytest.raises(CheckpointError, match=r"is not \[1, 3, 3, 1\], the only filter"):
        convert.read_training(tmp_path / "d.pt")


def test_tensors_of_others_as_safetensors(foreign, tmp_path):
    state = foreign.rosinality_state()
    torch.save({"g_ema": state, "latent_avg": torch.ones(16)}, tmp_path / "g.pt")
    flat = {f"params_ema.{name}": tensor for name, tensor in state.items()} | {"latent_avg": torch.ones(16)}
    z = torch.randn(2, 16)
    expected = stylegan2.load(tmp_path / "g.pt")[0](z, truncation_psi=0.5)
    for name, tensors in {"rosinality": flat, "nvidia": foreign.nvidia_state(state, torch.ones(16))}.items():
        save_file({key: tensor.contiguous().clone() for key, tensor in tensors.items()}, tmp_path / "g.safetensors")
        generator, metadata = stylegan2.load(tmp_path / "g.safetensors")
        assert metadata["source"] == name
        torch.testing.assert_close(generator(z, truncation_psi=0.5), expected, rtol=1e-3, atol=1e-3)


def test_safetensors_without_a_generator_are_named(tmp_path):
    save_file({"lora_A.weight": torch.ones(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="contains no generator 'g_ema', only 'lora_A.weight'"):
        stylegan2.load(tmp_path / "x.safetensors")
