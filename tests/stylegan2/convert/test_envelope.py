"""The tensors of one generator under whatever keys, prefixes, wrappers and types other trainers save them."""

import argparse
import pathlib
import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

import stylegan2
from stylegan2.convert.envelope import load_network_tensors, unwrap
from stylegan2.runtime.errors import CheckpointError

W_AVG = torch.linspace(-1, 1, 16)


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


WRAPPINGS = {
    "bare": lambda s: {**s, "latent_avg": W_AVG},
    "g": lambda s: {"g": s, "latent_avg": W_AVG},
    "ema beside the training": lambda s: {"g": {n: t + 1 for n, t in s.items()}, "g_ema": s, "latent_avg": W_AVG},
    "params_ema": lambda s: {"params": {n: t + 1 for n, t in s.items()}, "params_ema": s, "mean_latent": W_AVG},
    "several GPUs": lambda s: {"g_ema": prefixed(s, "module."), "latent_avg": W_AVG},
    "compiled": lambda s: {"g_ema": prefixed(s, "_orig_mod."), "latent_avg": W_AVG},
    "parts on several GPUs": lambda s: {
        "g_ema": {n.replace(".", ".module.", 1): t for n, t in s.items()},
        "latent_avg": W_AVG,
    },
    "several GPUs, bare": lambda s: {**prefixed(s, "module."), "latent_avg": W_AVG},
    "several GPUs, Lightning": lambda s: {"state_dict": prefixed(s, "module.model.g_ema."), "latent_avg": W_AVG},
    "both": lambda s: {"g_ema": prefixed(s, "module._orig_mod."), "latent_avg": W_AVG},
    "Lightning": lambda s: {
        "state_dict": {**prefixed(s, "generator_ema."), **prefixed({n: t + 1 for n, t in s.items()}, "generator.")},
        "latent_avg": W_AVG,
        "epoch": 3,
    },
    "averaged by torch.optim.swa_utils": lambda s: {
        "state_dict": {**prefixed(s, "module."), "n_averaged": torch.tensor(5)},
        "latent_avg": W_AVG,
    },
    "deep": lambda s: {"models": {"net": OrderedDict(ema=s)}, "stats": {"w_avg": W_AVG}},
    "a row of the mean": lambda s: {"g_ema": s, "latent_avg": W_AVG[None, None].repeat(1, 6, 1)},
    "half precision": lambda s: {
        "g_ema": {n: t.half().float().to(torch.float64) for n, t in s.items()},
        "latent_avg": W_AVG,
    },
    "bfloat16": lambda s: {"g_ema": {n: t.bfloat16() for n, t in s.items()}, "latent_avg": W_AVG},
    "arrays of NumPy": lambda s: {"g_ema": {n: t.numpy() for n, t in s.items()}, "latent_avg": W_AVG.numpy()},
    "numbers of NumPy": lambda s: {"g_ema": s, "latent_avg": W_AVG, "fid": W_AVG.numpy().mean()},
    "paths": lambda s: {"g_ema": s, "latent_avg": W_AVG, "args": argparse.Namespace(out=pathlib.PurePosixPath("/x"))},
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_the_envelope_is_not_the_content(foreign, tmp_path, name):
    state = foreign.rosinality_state({4: 16, 8: 16, 16: 16})
    torch.save({"g_ema": state, "latent_avg": W_AVG}, tmp_path / "plain.pt")
    torch.save(WRAPPINGS[name](state), tmp_path / "wrapped.pt")
    z = torch.randn(2, 16)
    expected, found = (stylegan2.load(tmp_path / f"{n}.pt")[0](z, truncation_psi=0.7) for n in ("plain", "wrapped"))
    torch.testing.assert_close(found, expected, **({"atol": 0.5, "rtol": 0} if "16" in name or "half" in name else {}))


def test_the_name_of_a_file_is_not_its_content(foreign, tmp_path):
    torch.save({"g_ema": foreign.rosinality_state({4: 16, 8: 16}), "latent_avg": W_AVG}, tmp_path / "g.safetensors")
    assert stylegan2.load(tmp_path / "g.safetensors")[0].img_resolution == 8


def test_that_the_weights_are_not_averaged_is_said(foreign, tmp_path, capsys):
    torch.save({"g": foreign.rosinality_state({4: 16, 8: 16}), "latent_avg": W_AVG}, tmp_path / "g.pt")
    stylegan2.load(tmp_path / "g.pt")
    assert "the file contains no averaged weights; those of 'g' were used" in capsys.readouterr().out


def test_what_was_refused_is_named(tmp_path):
    torch.save({"g_ema": {}, "when": __import__("datetime").timedelta(1)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"contains datetime.timedelta, which is neither a tensor nor a setting"):
        stylegan2.load(tmp_path / "x.pt")


def test_two_networks_of_one_file_are_told_apart():
    content = {"a": {"x.input.input": torch.ones(1)}, "ema": {"input.input": torch.zeros(1), "b": torch.zeros(2)}}
    first, second = unwrap(content, "input.input")
    assert (first.place, list(first.tensors)) == ("ema.", ["input.input", "b"])
    assert (second.place, list(second.tensors)) == ("a.x.", ["input.input"])
    assert unwrap({"my_input.input": torch.ones(1)}, "input.input") == []
    assert unwrap([content], "input.input") == []


def test_nvidias_tensors_in_a_pytorch_file(foreign, tmp_path, capsys):
    state = foreign.nvidia_state(foreign.rosinality_state({4: 16, 8: 16}), W_AVG)
    torch.save({"G_ema": prefixed(state, "module.")}, tmp_path / "x.pt")
    generator, metadata = stylegan2.load(tmp_path / "x.pt")
    assert (metadata["source"], generator.img_resolution) == ("nvidia", 8)
    assert "contains only tensors" in capsys.readouterr().out


STATE = {"conv.weight": torch.arange(4.0), "body.0.bias": torch.ones(2)}
ENVELOPES = {
    "bare": lambda s: s,
    "several GPUs": lambda s: {f"module.{name}": value for name, value in s.items()},
    "several GPUs within a training": lambda s: {
        "state_dict": {f"module.{name}": value for name, value in s.items()},
        "epoch": 3,
        "optimizer": {"state": {}},
    },
    "compiled on several GPUs": lambda s: {"model": {f"_orig_mod.module.{name}": value for name, value in s.items()}},
    "a part on several GPUs": lambda s: {name.replace("body.", "body.module."): value for name, value in s.items()},
    "a backbone": lambda s: {"state_dict": {f"backbone.{name}": value for name, value in s.items()}, "hyper": {}},
    "arrays": lambda s: {name: value.numpy() for name, value in s.items()},
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_tensors_are_found_in_any_envelope(tmp_path, name):
    torch.save(ENVELOPES[name](STATE), tmp_path / "file.pth")
    found = load_network_tensors(tmp_path / "file.pth", "missing.weight", "conv.weight")
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], value) for key, value in STATE.items())


def test_safetensors_are_read_too(tmp_path):
    save_file({f"module.{name}": value for name, value in STATE.items()}, tmp_path / "file.safetensors")
    assert load_network_tensors(tmp_path / "file.safetensors", "conv.weight").keys() == STATE.keys()


class _Surprise:
    """Pickles to a call."""

    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {}, {"a": 1}, {"a": _Surprise()}, torch.zeros(2)])
def test_only_tensors_are_read(tmp_path, content, capsys):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=r"file\.pth"):
        load_network_tensors(tmp_path / "file.pth", "a")
    assert capsys.readouterr().out == ""


def test_a_damaged_file_is_one_sentence(tmp_path):
    torch.save({"a": torch.randn(100)}, tmp_path / "whole.pth")
    data = (tmp_path / "whole.pth").read_bytes()
    assert load_network_tensors(tmp_path / "whole.pth", "a")["a"].shape == (100,)
    for name, damaged in {"short": data[:-100], "empty": b"", "pickle": pickle.dumps(_Surprise(), protocol=2)}.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=f"{name}' is damaged|{name} is damaged"):
            load_network_tensors(tmp_path / name, "a")
