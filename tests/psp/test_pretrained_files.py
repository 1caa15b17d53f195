"""Every entry of the table is found where it should be, or its absence is one sentence."""

import sys

import pytest
import torch

from psp.pretrained_files import PRETRAINED
from stylegan2.loading import PRETRAINED as GENERATORS
from stylegan2.runtime import checkpoint, weights
from stylegan2.runtime.errors import UserError

pytestmark = pytest.mark.usefixtures("empty_machine")

INSTALLED = ("dlib_resnet", "dlib_landmarks_68", "dlib_landmarks_5", "efficientnet_lite0")


@pytest.mark.parametrize("name", INSTALLED)
def test_installed_files_are_found_and_verified(name):
    path = PRETRAINED.locate(name)
    assert path.name == PRETRAINED.entries[name].file
    assert path.stat().st_size > 1_000_000
    assert "face_recognition_models" not in sys.modules  # located, not imported


def test_every_entry_is_complete():
    for name, entry in PRETRAINED.entries.items():
        assert entry.name == name
        assert all((entry.file, entry.description, entry.licence, entry.source, entry.fallback))
        assert entry.location.partition(":")[0] in ("package", "torchvision", "facenet", "user", "shipped")
        assert entry.sha256 is None or set(entry.sha256) <= set("0123456789abcdef")


@pytest.mark.parametrize("task", ["inversion", "inpainting", "super_resolution", "toonify"])
def test_the_shipped_encoders_contain_the_shipped_generator(task):
    generator, _ = checkpoint.read(GENERATORS.locate("portraits64"))
    model, _ = checkpoint.read(PRETRAINED.locate(f"portraits64_{task}"))
    part = "mapping." if task == "toonify" else ""  # whose synthesis is a blend
    own = {name.removeprefix("G_ema."): t for name, t in generator.items() if name.startswith(f"G_ema.{part}")}
    assert [name for name, tensor in own.items() if not torch.equal(tensor, model[f"generator.{name}"])] == []


@pytest.mark.parametrize("name", [name for name in PRETRAINED.entries if name not in INSTALLED])
def test_a_missing_file_is_one_sentence(name):
    entry = PRETRAINED.entries[name]
    if entry.location.startswith("shipped"):
        assert PRETRAINED.locate(name).is_file()
        return
    assert PRETRAINED.find(name) is None
    with pytest.raises(UserError) as raised:
        PRETRAINED.locate(name)
    message = str(raised.value)
    assert message.startswith(entry.file)
    assert entry.source in message
    assert entry.fallback in message
    assert weights.FOLDER_VARIABLE in message
    assert "\n" not in message
