"""Pretrained files are found where they should be, and nothing else is taken for them."""

import pytest
import torch
from torch import nn

from stylegan2.runtime import weights
from stylegan2.runtime.errors import CheckpointError, UserError

pytestmark = pytest.mark.usefixtures("empty_machine")

TABLE = (
    weights.PretrainedFile("alexnet", "alexnet-owt-7be5be79.pth", "AlexNet", "torchvision:", "7be5be79", "l", "s", "i"),
    weights.PretrainedFile("facenet", "vggface2.pt", "FaceNet", "facenet:", None, "l", "s", "i"),
    weights.PretrainedFile("arcface", "model_ir_se50.pth", "ArcFace", "user:", None, "l", "s", "i"),
    weights.PretrainedFile("gone", "x.dat", "a thing", "package:no-such-distribution", None, "l", "get it", "leave it"),
)
FILES = weights.PretrainedFiles("no_such_package", TABLE)


def test_a_missing_file_is_one_sentence():
    assert FILES.find("gone") is None
    with pytest.raises(UserError, match=r"^x\.dat \(a thing\) is not on .*: get it, .*PSP_WEIGHTS.*leave it$"):
        FILES.locate("gone")


def test_a_path_of_the_user_is_taken_as_it_is(tmp_path):
    own = tmp_path / "my alexnet.pth"
    own.write_bytes(b"anything")
    assert FILES.locate("alexnet", own) == own
    assert FILES.locate("alexnet", str(own)) == own
    with pytest.raises(UserError, match=r"no file .*other"):
        FILES.locate("alexnet", tmp_path / "other.pth")


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UserError, match="alexnet, arcface, facenet, gone"):
        FILES.locate("alexnext")


def test_the_folder_of_the_user_comes_first(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(folder))
    (folder / "model_ir_se50.pth").write_bytes(b"no digest is known")
    assert FILES.locate("arcface") == folder / "model_ir_se50.pth"
    (folder / "alexnet-owt-7be5be79.pth").write_bytes(b"not AlexNet")
    with pytest.raises(CheckpointError, match="not 7be5be79"):
        FILES.locate("alexnet")


@pytest.mark.parametrize("folder", ["torch/hub/checkpoints", "torch/checkpoints"])
def test_the_caches_of_torch_are_searched(tmp_path, folder):
    file = tmp_path / folder / FILES.entries["facenet"].file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    assert FILES.locate("facenet") == file


def test_verify_sees_one_changed_bit(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    weights.check_sha256(file, digest)
    weights.check_sha256(file, digest[:8].upper())
    file.write_bytes(b"abb")
    with pytest.raises(CheckpointError, match="damaged or a different file"):
        weights.check_sha256(file, digest)


def test_our_own_models_are_found_without_importing_their_package(tmp_path, monkeypatch):
    package = tmp_path / "unimportable_package"
    (package / "pretrained").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "pretrained" / "faces-64.safetensors").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    files = weights.PretrainedFiles(package.name)
    assert files.shipped == ["faces-64"]
    assert files.locate("faces-64") == package / "pretrained" / "faces-64.safetensors"


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
