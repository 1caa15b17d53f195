"""dlib's network in PyTorch against dlib itself, and its file against damage."""

import dlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from psp.perception.dlib_file import IMAGE_SIZE, _Reader, parse
from psp.perception.dlib_resnet import load_dlib
from psp.pretrained_files import PRETRAINED
from stylegan2.runtime import weights
from stylegan2.runtime.errors import CheckpointError

VERSIONS = range(0x1D, 0x121)
"""The bytes of the file that hold the versions of the layers."""


@pytest.fixture(scope="module")
def data() -> bytes:
    return PRETRAINED.locate("dlib_resnet").read_bytes()


@pytest.fixture(scope="module")
def network():
    return load_dlib()


def chips() -> np.ndarray:
    """uint8 [5, 150, 150, 3]: crops of a portrait that hold the face well, badly and not at all, and noise."""
    photo = astronaut()
    crops = [photo[y : y + IMAGE_SIZE, x : x + IMAGE_SIZE] for y, x in ((35, 145), (60, 170), (300, 50), (0, 330))]
    noise = np.random.default_rng(0).integers(0, 256, crops[0].shape, dtype=np.uint8)
    return np.stack([*crops, noise])


def test_equal_to_dlib(network):
    reference = dlib.face_recognition_model_v1(str(PRETRAINED.locate("dlib_resnet")))
    expected = np.array([reference.compute_face_descriptor(chip) for chip in chips()])  # [5, 128]
    images = torch.tensor(chips()).permute(0, 3, 1, 2) / 127.5 - 1  # [5, 3, 150, 150]
    np.testing.assert_allclose(network(images).numpy(), expected, atol=1e-5, rtol=0)


def test_embedding_does_not_depend_on_the_resolution_of_a_smooth_image(network):
    small = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8) * 2 - 1, size=(128, 128), mode="bicubic")
    large = torch.nn.functional.interpolate(small, size=(512, 512), mode="bilinear")
    assert network.similarity(network.embed(small), network.embed(large)) > 0.99


def test_weights_are_frozen_and_follow_to_and_eval(network):
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_is_refused(data, part):
    with pytest.raises(CheckpointError, match="damaged"):
        parse(data[: int(part * len(data))], "file")


@pytest.mark.parametrize("more", [b"\0", b"0", bytes(100)])
def test_a_file_that_is_too_long_is_refused(data, more):
    with pytest.raises(CheckpointError, match="nothing behind its end"):
        parse(data + more, "file")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(VERSIONS), st.integers(1, 255))
def test_altered_structure_is_refused(data, position, flip):
    edited = bytes([*data[:position], data[position] ^ flip]) + data[position + 1 :]
    with pytest.raises(CheckpointError, match="damaged"):
        parse(edited, "file")


def test_a_weight_that_is_no_number_is_refused(data):
    position = len(data) // 2 & ~3
    with pytest.raises(CheckpointError, match="finite weights"):
        parse(data[:position] + b"\xff" * 8 + data[position + 8 :], "file")


def test_a_changed_weight_is_seen_by_the_digest(data, tmp_path, monkeypatch):
    position = len(data) // 2
    copy = tmp_path / PRETRAINED.entries["dlib_resnet"].file
    copy.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_dlib()


def test_another_file_is_refused():
    with pytest.raises(CheckpointError, match="damaged or not dlib's"):
        load_dlib(PRETRAINED.locate("efficientnet_lite0"))


@given(st.integers(-(2**64) + 1, 2**64 - 1))
def test_integers_as_dlib_writes_them(value):
    magnitude = abs(value).to_bytes(max(1, (abs(value).bit_length() + 7) // 8), "little")
    reader = _Reader(bytes([len(magnitude) | (0x80 if value < 0 else 0)]) + magnitude, "file")
    assert reader.integer() == value
    assert reader.position == len(reader.data)


@given(st.binary(max_size=40))
def test_no_bytes_crash_the_reader(content):
    with pytest.raises(CheckpointError):
        parse(content, "file")


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_reals_are_mantissa_and_exponent(value):
    mantissa, exponent = int(value * 2**160), -160  # exact: float32 goes down to 2^-149
    while mantissa and mantissa % 2 == 0:
        mantissa, exponent = mantissa // 2, exponent + 1
    parts = [mantissa, exponent]
    content = b"".join(
        bytes([(len(m) | (0x80 if p < 0 else 0))]) + m
        for p in parts
        for m in [abs(p).to_bytes(max(1, (abs(p).bit_length() + 7) // 8), "little")]
    )
    assert _Reader(content, "file").real() == value
