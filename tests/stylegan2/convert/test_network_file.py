"""The networks of losses, metrics and trunks, however the tensors of their files are wrapped."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from stylegan2.convert.network_file import load_network_tensors
from stylegan2.runtime.errors import CheckpointError

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
def test_the_envelope_is_not_the_content(tmp_path, name):
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
