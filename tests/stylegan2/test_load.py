"""One door to our files, folders and shipped models and to other projects' files; strict, and clear when it refuses."""

import json
import os

import pytest
import torch

import stylegan2
from stylegan2.loading import PRETRAINED
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint, weights
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.registry import built_as
from stylegan2.runtime.tensors import module_tensors

SMALL = {"z_dim": 6, "w_dim": 5, "channel_base": 96, "channel_max": 7, "mapping_layers": 2}


def small_generator(seed=0, **kwargs):
    torch.manual_seed(seed)
    generator = GENERATORS.build("stylegan2", 16, **SMALL, **kwargs)
    generator.w_avg.normal_()
    return generator


def assert_same(a, b, **tolerance):
    a, b = a.state_dict(), b.state_dict()
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)


EXACT = {"rtol": 0, "atol": 0}


@pytest.mark.parametrize("architecture", ["skip", "residual"])
def test_what_was_saved_is_loaded(tmp_path, architecture):
    generator = small_generator(architecture=architecture, conv_clamp=5.0)
    stylegan2.save_generator(tmp_path / "g.safetensors", generator, {"licence": "CC0", "cur_nimg": 7})
    loaded, metadata = stylegan2.load(tmp_path / "g.safetensors")
    assert_same(loaded, generator, **EXACT)
    assert built_as(loaded) == built_as(generator)
    assert metadata["generator"] == built_as(generator)
    assert (metadata["kind"], metadata["licence"], metadata["cur_nimg"]) == ("stylegan2", "CC0", 7)
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    z = torch.randn(2, generator.z_dim)
    with torch.no_grad():
        torch.testing.assert_close(loaded(z), generator(z), **EXACT)


def test_a_file_whose_header_begins_like_a_pickle_is_loaded(tmp_path):
    """The first byte is the low one of the header's length, so one file in 32 begins with a pickle's magic."""
    path, first_bytes = tmp_path / "g.safetensors", set()
    for padding in range(0, 256, 8):
        stylegan2.save_generator(path, small_generator(), {"note": "x" * padding})
        first_bytes.add(path.read_bytes()[0])
        assert stylegan2.load(path)[1]["note"] == "x" * padding
    assert 0x80 in first_bytes


def test_half_precision_halves_the_file_and_loads_as_float32(tmp_path):
    generator = small_generator()
    stylegan2.save_generator(tmp_path / "full.safetensors", generator, {})
    stylegan2.save_generator(tmp_path / "half.safetensors", generator, {}, dtype=torch.float16)
    tensors = [
        sum(t.nbytes for t in checkpoint.read(tmp_path / f"{n}.safetensors")[0].values()) for n in ("half", "full")
    ]
    assert tensors[0] * 2 == tensors[1]
    loaded, _ = stylegan2.load(tmp_path / "half.safetensors")
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    assert_same(loaded, generator, rtol=1e-3, atol=1e-6)


def test_values_beyond_half_precision_are_refused(tmp_path):
    generator = small_generator()
    with torch.no_grad():
        generator.synthesis.const[0, 0, 0, 0] = 1e6
    with pytest.raises(CheckpointError, match=r"synthesis\.const.*float16"):
        stylegan2.save_generator(tmp_path / "g.safetensors", generator, {}, dtype=torch.float16)
    assert not (tmp_path / "g.safetensors").exists()


def test_only_registered_generators_are_saved(tmp_path):
    with pytest.raises(ValueError, match="Linear was not built by a registry"):
        stylegan2.save_generator(tmp_path / "d.safetensors", torch.nn.Linear(1, 1), {})
    assert not (tmp_path / "d.safetensors").exists()


def training_checkpoint(path, generator, **metadata):
    """As a training writes it: more than the generator is in the file."""
    tensors = module_tensors("G_ema", generator) | module_tensors("G", small_generator(99))
    config = built_as(generator)
    checkpoint.save(path, tensors, {"kind": "stylegan2", "generator": config, "cur_nimg": 5} | metadata)


def test_newest_intact_checkpoint_of_a_folder(tmp_path, capsys):
    older, newer = small_generator(1), small_generator(2)
    training_checkpoint(checkpoint.checkpoint_path(tmp_path, "network", 1000), older)
    training_checkpoint(checkpoint.checkpoint_path(tmp_path, "network", 2000), newer)
    assert_same(stylegan2.load(tmp_path)[0], newer, **EXACT)
    damaged = checkpoint.checkpoint_path(tmp_path, "network", 2000)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert_same(stylegan2.load(str(tmp_path))[0], older, **EXACT)
    assert damaged.name in capsys.readouterr().out


def test_folders_without_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        stylegan2.load(tmp_path)


def test_shipped_models_are_found_by_name(tmp_path, monkeypatch):
    generator = small_generator()
    stylegan2.save_generator(tmp_path / "tiny.safetensors", generator, {})
    text = ("a tiny model", "shipped:stylegan2", None, "CC0", "", "", "generator")
    monkeypatch.setitem(PRETRAINED.entries, "tiny", weights.PretrainedFile("tiny", "tiny.safetensors", *text))
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    assert_same(stylegan2.load("tiny")[0], generator, **EXACT)
    with pytest.raises(UserError, match=r"'tinny'.*tiny"):
        stylegan2.load("tinny")
    with pytest.raises(UserError, match="alexnet"):  # known, and no generator
        stylegan2.load("alexnet")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.pt"):
        stylegan2.load(tmp_path / "nowhere.pt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "g.pt").write_bytes(b"PK\x03\x04")
    (tmp_path / "g.pt").chmod(0)
    with pytest.raises(UserError, match=r"g\.pt"):
        stylegan2.load(tmp_path / "g.pt")


def test_loading_is_strict(tmp_path):
    generator = small_generator()
    path = tmp_path / "g.safetensors"
    config = built_as(generator)
    complete = module_tensors("G_ema", generator)

    def refused(named, tensors=complete, kind="stylegan2", config=config):
        checkpoint.save(path, tensors, {"kind": kind, "generator": config})
        with pytest.raises(UserError, match=named) as caught:
            stylegan2.load(path)
        assert "\n" not in str(caught.value)

    refused("missing.*to_rgbs", {k: v for k, v in complete.items() if "to_rgbs.0.bias" not in k})
    refused("extra.*surplus", complete | {"G_ema.surplus": torch.zeros(1)})
    refused("shape.*synthesis.const", complete | {"G_ema.synthesis.const": torch.zeros(1, 2, 4, 4)})
    refused("missing", {})
    refused("'psp'", kind="psp")
    refused("None", kind=None)
    refused("'stylegan9'", config=config | {"name": "stylegan9"})
    refused("cannot be built with colour 'blue'", config=config | {"colour": "blue"})
    refused("do not contain the name of its generator", config=None)
    refused("24", config=config | {"img_resolution": 24})


def test_other_projects_files_come_through_the_same_door(tmp_path):
    torch.save({"g_ema": {}}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt.*missing"):
        stylegan2.load(tmp_path / "model.pt")
    (tmp_path / "network.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(CheckpointError, match=r"network\.pkl.*G_ema"):
        stylegan2.load(tmp_path / "network.pkl")


def test_other_safetensors_files_are_refused(tmp_path):
    header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="contains no generator 'g_ema', only nothing"):
        stylegan2.load(tmp_path / "x.safetensors")


def test_random_numbers_are_left_alone(tmp_path):
    stylegan2.save_generator(tmp_path / "g.safetensors", small_generator(), {})
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    stylegan2.load(tmp_path / "g.safetensors")
    torch.testing.assert_close(torch.rand(3), expected, **EXACT)


def test_every_registered_generator_names_itself():
    assert set(GENERATORS.names()) >= {"pggan", "stylegan", "stylegan2", "lucidrains"}
    assert all(built_as(GENERATORS.build(name, 16))["name"] == name for name in GENERATORS.names())
