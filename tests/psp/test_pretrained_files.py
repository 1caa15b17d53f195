"""Every entry of the table is found where it should be, or its absence is one sentence."""

import sys

import pytest

from psp.pretrained_files import PRETRAINED
from stylegan2.runtime import weights
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
