"""The table of pretrained files: everything in it is found where it should be, and nothing else is taken for it."""

import pickle
import socket
import sys

import pytest
import torch
from torch import nn

from stylegan2.runtime import weights
from stylegan2.runtime.errors import CheckpointError, UserError

INSTALLED = ("dlib_resnet", "dlib_landmarks_68", "dlib_landmarks_5", "efficientnet_lite0")


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path, monkeypatch):
    """No cached downloads, no folder of the user, no network."""

    def refuse(*args):
        raise AssertionError("a network connection was opened")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv(weights.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", INSTALLED)
def test_installed_files_are_found_and_verified(name):
    path = weights.locate(name)
    assert path.name == weights.PRETRAINED[name].file
    assert path.stat().st_size > 1_000_000
    assert "face_recognition_models" not in sys.modules  # located, not imported


def test_every_entry_is_complete():
    for name, entry in weights.PRETRAINED.items():
        assert entry.name == name
        assert all((entry.file, entry.what, entry.licence, entry.source, entry.instead))
        assert entry.found.partition(":")[0] in ("package", "torchvision", "facenet", "user", "shipped")
        assert entry.sha256 is None or set(entry.sha256) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", [name for name in weights.PRETRAINED if name not in INSTALLED])
def test_a_missing_file_is_one_sentence(name):
    entry = weights.PRETRAINED[name]
    if entry.found.startswith("shipped"):
        assert weights.locate(name).is_file()
        return
    assert weights.find(name) is None
    with pytest.raises(UserError) as raised:
        weights.locate(name)
    message = str(raised.value)
    assert message.startswith(entry.file)
    assert entry.source in message
    assert entry.instead in message
    assert weights.FOLDER_VARIABLE in message
    assert message.endswith(".")
    assert "\n" not in message


def test_an_absent_distribution_is_a_missing_file(monkeypatch):
    gone = weights.PretrainedFile(
        "x", "x.dat", "a thing", "package:no-such-distribution", None, "l", "get it", "leave it"
    )
    monkeypatch.setitem(weights.PRETRAINED, "x", gone)
    with pytest.raises(UserError, match=r"x\.dat \(a thing\) is not on this machine: get it"):
        weights.locate("x")


def test_a_path_of_the_user_is_taken_as_it_is(tmp_path):
    own = tmp_path / "my alexnet.pth"
    own.write_bytes(b"anything")
    assert weights.locate("alexnet", own) == own
    assert weights.locate("alexnet", str(own)) == own
    with pytest.raises(UserError, match=r"no file .*other"):
        weights.locate("alexnet", tmp_path / "other.pth")


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UserError, match=r"alexnet.*vgg16"):
        weights.locate("alexnext")


def test_the_folder_of_the_user_comes_first(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(folder))
    assert weights.locate("dlib_resnet").parent != folder
    (folder / "model_ir_se50.pth").write_bytes(b"no digest is known")
    assert weights.locate("arcface_ir_se50") == folder / "model_ir_se50.pth"
    (folder / "alexnet-owt-7be5be79.pth").write_bytes(b"not AlexNet")
    with pytest.raises(CheckpointError, match="not 7be5be79"):
        weights.locate("alexnet")


@pytest.mark.parametrize("folder", ["torch/hub/checkpoints", "torch/checkpoints"])
def test_the_caches_of_torch_are_searched(tmp_path, folder):
    file = tmp_path / folder / weights.PRETRAINED["facenet_vggface2"].file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    assert weights.locate("facenet_vggface2") == file


def test_verify_sees_one_changed_bit(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    weights.verify(file, digest)
    weights.verify(file, digest[:8].upper())
    file.write_bytes(b"abb")
    with pytest.raises(CheckpointError, match="damaged or another file"):
        weights.verify(file, digest)


def test_our_own_models_are_found_without_importing_their_package(tmp_path, monkeypatch):
    package = tmp_path / "unimportable_package"
    (package / "pretrained").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "pretrained" / "faces-64.safetensors").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(weights, "OUR_PACKAGES", (package.name, "no_such_package"))
    (entry,) = weights._shipped()
    monkeypatch.setitem(weights.PRETRAINED, entry.name, entry)
    assert weights.locate("faces-64") == package / "pretrained" / "faces-64.safetensors"


class _Surprise:
    """Pickles to a call."""

    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {}, {"a": 1}, {"a": _Surprise()}, torch.zeros(2)])
def test_only_plain_state_dicts_are_read(tmp_path, content, capsys):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=r"file\.pth"):
        weights.load_tensors(tmp_path / "file.pth")
    assert capsys.readouterr().out == ""


def test_a_damaged_file_is_one_sentence(tmp_path):
    torch.save({"a": torch.randn(100)}, tmp_path / "whole.pth")
    data = (tmp_path / "whole.pth").read_bytes()
    assert weights.load_tensors(tmp_path / "whole.pth")["a"].shape == (100,)
    for name, damaged in {"short": data[:-100], "empty": b"", "pickle": pickle.dumps(_Surprise(), protocol=2)}.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=f"{name} is damaged"):
            weights.load_tensors(tmp_path / name)


def test_fill_is_strict(tmp_path):
    layer = nn.Linear(2, 3)
    tensors = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    weights.fill(layer, tensors, tmp_path / "file.pth")
    assert layer.weight.eq(1).all()
    for wrong, word in (
        ({"weight": tensors["weight"]}, "missing: bias"),
        (tensors | {"more": torch.ones(1)}, "extra: more"),
        (tensors | {"bias": torch.ones(4)}, "shape: bias"),
    ):
        with pytest.raises(CheckpointError, match=word):
            weights.fill(layer, wrong, tmp_path / "file.pth")
