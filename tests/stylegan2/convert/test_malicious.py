"""Hostile and damaged files: nothing in them runs, and the answer is one sentence."""

import argparse
import builtins
import collections
import contextlib
import copyreg
import io
import os
import pickle
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylegan2 import convert, load
from stylegan2.runtime.errors import CheckpointError, UserError


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "executed"


def attacks(marker):
    """Objects whose unpickling leaves a file behind."""
    mkdir = Call(os.mkdir, str(marker))
    return {
        "os.system": Call(os.system, f"touch {marker}"),
        "exec": Call(builtins.exec, f"import pathlib; pathlib.Path({str(marker)!r}).touch()"),
        "eval": Call(builtins.eval, f"open({str(marker)!r}, 'w')"),
        "open": Call(builtins.open, str(marker), "w"),
        "subprocess": Call(subprocess.call, ["touch", str(marker)]),
        "mkdir": mkdir,
        "pickle": Call(pickle.loads, pickle.dumps(mkdir)),
    }


ATTACKS = sorted(attacks("x"))


def assert_refused(path, marker):
    for read in (convert.load_foreign, load):
        with pytest.raises(UserError) as caught:
            read(path)
        message = str(caught.value)
        assert path.name in message
        assert "\n" not in message
        assert len(message) < 500
    assert not marker.exists()


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_work_on_a_plain_reader(marker, name):
    """Otherwise the tests below would prove nothing."""
    pickle.loads(pickle.dumps(attacks(marker)[name]))
    assert marker.exists()


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ATTACKS)
def test_pickles(tmp_path, marker, name, protocol):
    path = tmp_path / "network.pkl"
    path.write_bytes(pickle.dumps(attacks(marker)[name], protocol=protocol))
    assert_refused(path, marker)
    path.write_bytes(pickle.dumps({"G_ema": [attacks(marker)[name]]}, protocol=protocol))
    assert_refused(path, marker)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_inside_a_real_network(foreign, tmp_path, marker, name):
    tensors = foreign.nvidia_state(foreign.rosinality_state(mapping_layers=2), None)
    for place in ("_init_kwargs", "synthesis.b8.conv0.activation", "mapping.__setstate__"):
        path = foreign.nvidia_pickle(tmp_path / "n.pkl", tensors, {place: attacks(marker)[name]})
        assert_refused(path, marker)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ATTACKS)
def test_torch_files(foreign, tmp_path, marker, name, legacy):
    state = foreign.rosinality_state(mapping_layers=2)
    path = tmp_path / "model.pt"
    for content in (attacks(marker)[name], {"g_ema": state, "args": attacks(marker)[name]}):
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        assert_refused(path, marker)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_torch_file_nested_as_a_tensor(tmp_path, marker, kind):
    """NVIDIA's pickles hold each tensor as a torch file of its own."""
    inner = io.BytesIO()
    attack = Call(os.mkdir, str(marker))
    if kind == "pickle":
        pickle.dump(attack, inner)
    else:
        torch.save(attack, inner, _use_new_zipfile_serialization=kind == "zip")
    path = tmp_path / "n.pkl"
    path.write_bytes(pickle.dumps({"G_ema": Call(torch.storage._load_from_bytes, inner.getvalue())}))
    assert_refused(path, marker)


def test_zip_with_a_pickle_that_is_not_torchs(tmp_path, marker):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Call(os.mkdir, str(marker)), protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    assert_refused(path, marker)


def test_embedded_source_is_not_compiled(foreign, tmp_path, marker):
    tensors = foreign.nvidia_state(foreign.rosinality_state(mapping_layers=2), torch.zeros(foreign.STYLE_DIM))
    sources = [f"open({str(marker)!r}, 'w')", "this is no Python ("]
    for source in sources:
        convert.load_foreign(foreign.nvidia_pickle(tmp_path / "n.pkl", tensors, source=source))
    assert not marker.exists()


def stack_global(module: str, name: str) -> bytes:
    parts = (pickle.SHORT_BINUNICODE + bytes([len(text)]) + text.encode() for text in (module, name))
    return b"".join(parts) + pickle.STACK_GLOBAL


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("collections", "OrderedDict.__subclasses__"),
        ("collections", "_sys.modules"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch._utils", "torch.load"),
        ("torch.storage", "io.open"),
        ("dnnlib.util", "EasyDict.__init__.__globals__"),
        ("numpy", "load"),
        ("numpy.core.multiarray", "fromstring"),
        ("builtins", "getattr"),
        ("pickle", "loads"),
        ("stylegan2.convert.safe", "read_torch"),
        ("torch_utils.persistence", "_src_to_module"),
        ("", ""),
        ("os\nsystem", "\x1b[31m"),
    ],
)
def test_names_beyond_the_list_are_refused(tmp_path, marker, module, name):
    path = tmp_path / "n.pkl"
    path.write_bytes(b"\x80\x04" + stack_global(module, name) + b"\x85R.")
    assert_refused(path, marker)
    with pytest.raises(CheckpointError, match="names"):
        convert.load_foreign(path)


def test_other_opcodes(tmp_path, marker):
    """Persistent ids, extension codes, INST, and state that is set on what the list holds."""
    path = tmp_path / "n.pkl"
    ordered = stack_global("collections", "OrderedDict")
    copyreg.add_extension("os", "mkdir", 0xF123)
    try:
        extension = b"\x80\x04\x83\x23\xf1" + pickle.SHORT_BINUNICODE + bytes([len(str(marker))])
        bodies = [
            extension + str(marker).encode() + b"\x85R.",
            b"\x80\x04Pos.system\n.",
            b"\x80\x02(S'touch x'\nios\nsystem\n.",
            b"\x80\x04" + ordered + b"}\x8c\x08__call__" + ordered + b"sb.",
            b"\x80\x04" + ordered + b"N}\x8c\x07__new__K\x01s\x86b.",
            b"\x80\x04" + stack_global("torch.storage", "_load_from_bytes") + b"N}\x8c\x0c__defaults__K\x01s\x86b.",
            b"\x80\x04}\x8c\x05G_ema" + stack_global("builtins", "set") + b"s.",
        ]
        for body in bodies:
            path.write_bytes(body)
            assert_refused(path, marker)
    finally:
        copyreg.remove_extension("os", "mkdir", 0xF123)


def tensor_call(*arguments):
    return {"G_ema": Call(torch._utils._rebuild_tensor_v2, *arguments)}


def test_tensors_larger_than_their_data(tmp_path, marker):
    storage = torch.zeros(4)._typed_storage()
    path = tmp_path / "n.pkl"
    hooks = collections.OrderedDict()
    for size, stride, offset in [
        ((5,), (1,), 0),
        ((4,), (1,), 1),
        ((10**12,), (0,), 0),
        ((2, 2), (-1, 1), 0),
        ("a", 1, 2),
    ]:
        path.write_bytes(pickle.dumps(tensor_call(storage, offset, size, stride, False, hooks)))
        with pytest.raises(CheckpointError, match="damaged"):
            convert.load_foreign(path)
        assert_refused(path, marker)


def test_numpy_objects_are_refused(tmp_path, marker):
    path = tmp_path / "n.pkl"
    hostile = np.array([Call(os.mkdir, str(marker))], dtype=object)
    for value in (np.array([1.0]), np.str_("x"), np.datetime64("2020-01-01"), np.array([{}], dtype=object), hostile):
        for protocol in (2, 4, 5):
            path.write_bytes(pickle.dumps({"G_ema": value}, protocol=protocol))
            assert_refused(path, marker)


def test_numpy_arrays_are_passed_over(foreign, tmp_path, marker):
    """StyleGAN3's layers have some among their attributes; nothing is allocated for them."""
    tensors = foreign.nvidia_state(foreign.rosinality_state(mapping_layers=2), torch.zeros(foreign.STYLE_DIM))
    for protocol in (3, 4, 5):
        attributes = {"size": np.broadcast_to(np.asarray(36), [2]), "other": np.array([[1.0, 2.0]], np.float32)}
        convert.load_foreign(foreign.nvidia_pickle(tmp_path / "n.pkl", tensors, attributes, protocol))
    hostile = {"size": np.array([Call(os.mkdir, str(marker))], dtype=object)}
    assert_refused(foreign.nvidia_pickle(tmp_path / "n.pkl", tensors, hostile), marker)


def test_numpy_scalars_are_plain_numbers(foreign, tmp_path, marker):
    tensors = foreign.nvidia_state(foreign.rosinality_state(mapping_layers=2), torch.zeros(foreign.STYLE_DIM))
    for value in (np.float32(1), np.int64(1), np.bool_(True), np.dtype(">f8").type(1)):
        convert.load_foreign(foreign.nvidia_pickle(tmp_path / "n.pkl", tensors, {"gain": value}))
    for value in (np.datetime64("2020-01-01"), np.str_("text"), np.bytes_(b"text"), np.complex64(1)):
        assert_refused(foreign.nvidia_pickle(tmp_path / "n.pkl", tensors, {"gain": value}), marker)


def test_a_module_within_itself(tmp_path, marker):
    path = tmp_path / "n.pkl"
    module = stack_global("torch_utils.persistence", "_reconstruct_persistent_obj")
    module += b"}\x8c\x0aclass_name\x8c\x01Gs\x8c\x05state}\x94s\x85R\x94"  # memo 0: its state, 1: the module
    inside = b"h\x00\x8c\x08_modules}\x8c\x01ah\x01ss0"
    path.write_bytes(b"\x80\x04}\x8c\x05G_ema" + module + inside + b"s.")
    with pytest.raises(CheckpointError, match="not a module"):
        convert.load_foreign(path)
    assert_refused(path, marker)


def test_tensorflow_pickles_are_named(tmp_path, marker):
    path = tmp_path / "stylegan2-ffhq.pkl"
    path.write_bytes(b"\x80\x04" + stack_global("dnnlib.tflib.network", "Network") + b")\x81}b.")
    with pytest.raises(CheckpointError, match=r"TensorFlow.*legacy\.py"):
        convert.load_foreign(path)
    assert_refused(path, marker)


def test_attack_inside_the_arguments_of_a_training(foreign, tmp_path, marker):
    path = tmp_path / "model.pt"
    hostile = argparse.Namespace(size=Call(os.mkdir, str(marker)))
    torch.save({"g_ema": foreign.rosinality_state(mapping_layers=2), "args": hostile}, path)
    assert_refused(path, marker)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\x80\x04",
        b"\x80\x04.",
        b"PK\x03\x04",
        b"PK\x03\x04" + bytes(100),
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        b"<html>404 Not Found</html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\x08\x00\x00\x00\x00\x00\x00\x00{       ",
        bytes(1000),
    ],
)
@pytest.mark.parametrize("name", ["x.pkl", "x.pt", "x.safetensors"])
def test_garbage(tmp_path, marker, data, name):
    (tmp_path / name).write_bytes(data)
    assert_refused(tmp_path / name, marker)


@pytest.fixture(scope="module")
def intact(foreign, tmp_path_factory):
    """A small file of each kind."""
    folder = tmp_path_factory.mktemp("intact")
    state = foreign.rosinality_state({4: 2, 8: 2, 16: 2}, mapping_layers=1, style_dim=2)
    content = {"g_ema": state, "latent_avg": torch.zeros(2)}
    torch.save(content, folder / "zip.pt")
    torch.save(content, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    foreign.nvidia_pickle(folder / "n.pkl", foreign.nvidia_state(state, torch.zeros(2)))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", ["zip.pt", "legacy.pt", "n.pkl"])
def test_truncated_files(intact, tmp_path, marker, name):
    data = intact[name]
    path = tmp_path / name
    path.write_bytes(data)
    assert convert.load_foreign(path)[0].img_resolution == 16
    for length in [1, 2, 9, 20, 100, len(data) // 2, len(data) - 2, len(data) - 1]:
        path.write_bytes(data[:length])
        assert_refused(path, marker)
    with pytest.raises(CheckpointError, match="damaged"):
        convert.load_foreign(path)


@pytest.mark.parametrize("name", ["zip.pt", "legacy.pt", "n.pkl"])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_altered_bytes_never_surprise(intact, tmp_path_factory, name, data):
    """Any byte may change: the file loads, or it is refused; nothing else is raised."""
    content = bytearray(intact[name])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("altered") / name
    path.write_bytes(bytes(content))
    with contextlib.suppress(UserError):
        assert convert.load_foreign(path)[0].img_resolution == 16
