"""Pickles and PyTorch's files of hostile kinds are refused before anything is built; those of people are read."""

import argparse
import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch

from stylegan2.convert.safe import read_persistence_pickle, read_torch
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.pickle_outline import Outline
from tests.hostile import answer


def long_integer(digits):
    content = (10**digits).to_bytes(digits // 2 + 8, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(content)) + content


DEEP_KEY = b"\x80\x02})" + b"\x85" * 300_000 + b"K\x01s."
PICKLES = {
    "deep tuple as a key": DEEP_KEY,
    "deep lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "deep objects": b"\x80\x02ccollections\nOrderedDict\n)" + b"\x85R" * 200 + b".",
    "colliding keys": pickle.dumps({k * (2**61 - 1): 0 for k in range(20_000)}, 2),
    "keys of bytes": pickle.dumps({b"a": 1}, 3),
    "keys of floats": pickle.dumps({1.5: 1}, 2),
    "keys of tuples": pickle.dumps({(1, 2): 1}, 2),
    "a set of tuples": pickle.dumps({(1, 2)}, 4),
    "a far memo": b"\x80\x02]r\xff\xff\xff\x1f.",
    "a huge number": b"\x80\x02" + long_integer(6000) + b".",
    "a huge decimal": b"L" + b"9" * 6000 + b"L\n.",
    "a long text that is not there": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"a.",
    "no end": b"\x80\x02](((",
    "an empty stack": b"\x80\x02a.",
    "marks without an end": b"\x80\x02(((((u.",
    "nothing": b"",
    "an extension": b"\x80\x02\x82\x01.",
    "another file": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "a dict of one": b"\x80\x02](K\x01d.",
    "two million steps": b"\x80\x02" + b"N0" * 1_000_001 + b"N.",
}


@pytest.mark.parametrize("kind", PICKLES)
def test_hostile_pickles_are_one_sentence(tmp_path, kind):
    for name in ("x.pkl", "x.pt"):
        (tmp_path / name).write_bytes(PICKLES[kind])
        assert answer(read_persistence_pickle if name == "x.pkl" else read_torch, tmp_path / name)


def zipped(path, pickled, compression=zipfile.ZIP_STORED, **records):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3\n")
        for key, content in records.items():
            file.writestr(f"archive/data/{key.removeprefix('k')}", content)
    return path


@pytest.mark.parametrize("kind", PICKLES)
def test_and_so_are_those_in_a_zip(tmp_path, kind):
    assert answer(read_torch, zipped(tmp_path / "x.pt", PICKLES[kind]))


def tensor(numel, size, stride, offset=0, storage="FloatStorage"):
    """The pickle of one tensor as torch.save writes it."""
    whole = [
        b"M" + struct.pack("<H", n) if 0 <= n < 2**16 else b"\x8a\x08" + struct.pack("<q", n) for n in (numel, offset)
    ]
    sizes, strides = (b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in ns) + b"t" for ns in (size, stride))
    identity = (
        b"(X\x07\x00\x00\x00storagectorch\n" + storage.encode() + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + whole[0]
    )
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        + identity
        + b"tQ"
        + whole[1]
        + sizes
        + strides
        + b"\x89ccollections\nOrderedDict\n)RtR."
    )


CLAIMS = {
    "a storage larger than its record": tensor(2**40, [4], [1]),
    "a tensor larger than its storage": tensor(4, [2**20, 2**20], [2**20, 1]),
    "an expanded tensor": tensor(4, [2**26, 4], [0, 1]),
    "an offset beyond": tensor(4, [2], [1], 2**40),
    "a negative size": tensor(4, [-1], [1]),
    "a negative stride": tensor(4, [2], [-1]),
    "a far stride": tensor(4, [2], [2**62]),
    "more sizes than strides": tensor(4, [1, 1], [1]),
    "complex numbers": tensor(1, [1], [1], storage="ComplexFloatStorage"),
    "quantized numbers": tensor(4, [4], [1], storage="QInt8Storage"),
    "a storage of its own class": tensor(4, [4], [1], storage="load"),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_tensors_that_claim_more_than_there_is(tmp_path, kind):
    assert answer(read_torch, zipped(tmp_path / "x.pt", CLAIMS[kind], k0=b"\0" * 16))


def test_the_claims_are_made_as_torch_writes_them(tmp_path):
    found = read_torch(zipped(tmp_path / "x.pt", tensor(4, [2, 2], [2, 1]), k0=b"\0" * 16))
    assert torch.equal(found, torch.zeros(2, 2))


@pytest.mark.parametrize(
    "content",
    [
        {"a": torch.eye(3).to_sparse()},
        {"a": torch.eye(3).to_sparse_csr()},
        {"a": torch.zeros(3, dtype=torch.complex64)},
        {"a": torch.empty(3, device="meta")},
        {"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
        {"a": torch.zeros(1).expand(2**28)},
        {b"a": torch.zeros(1)},
        {2**70: torch.zeros(1)},
        {"a": [torch.zeros(2**20)] * 2000},
    ],
    ids=["sparse", "csr", "complex", "meta", "quantized", "expanded", "bytes", "number", "repeated"],
)
def test_tensors_of_other_kinds(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("x.pt", "old.pt"):
        assert answer(read_torch, tmp_path / name) or isinstance(content.get("a"), list)


def test_an_old_file_that_claims_more_than_it_holds(tmp_path):
    torch.save({"a": torch.zeros(16)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "old.pt").read_bytes()
    large = content.replace(b"K\x10N", b"\x8a\x06" + struct.pack("<q", 2**40)[:6] + b"N")
    assert large != content
    (tmp_path / "old.pt").write_bytes(large)
    assert "larger than the file" in answer(read_torch, tmp_path / "old.pt")


def test_a_bomb_and_two_members_of_one_name(tmp_path):
    zeros = b"\0" * 2**28
    bomb = zipped(tmp_path / "b.pt", tensor(2**26, [2**26], [1]), zipfile.ZIP_DEFLATED, k0=zeros, k1=zeros, k2=zeros)
    assert "would unpack to" in answer(read_torch, bomb)
    with zipfile.ZipFile(tmp_path / "t.pt", "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"a": 1}, 2))
        file.writestr("archive/DATA.pkl", DEEP_KEY)
    assert "two members of the same name" in answer(read_torch, tmp_path / "t.pt")


@pytest.mark.parametrize("zip_format", [True, False])
def test_what_people_save_is_read(tmp_path, zip_format):
    shared = torch.arange(6.0).reshape(2, 3)
    content = {
        "state": OrderedDict(a=shared, b=shared.t(), c=torch.nn.Parameter(torch.ones(2)), d=torch.tensor(3)),
        "half": shared.half(),
        "bf16": shared.bfloat16(),
        "empty": torch.zeros(0, 3),
        "view": shared[1:],
        "opts": argparse.Namespace(lr=0.1, name="x", list=[1, (2, 3)]),
        "optimizer": {"state": {0: {"step": 5}, 1: {}}, "param_groups": [{"betas": (0.9, 0.99), "params": [0, 1]}]},
        "size": shared.shape,
        "text": "é" * 5000,
        "set": {"a", "b"},
    }
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=zip_format)
    found = read_torch(tmp_path / "x.pt")
    assert torch.equal(found["state"]["b"], shared.t())
    assert found["opts"].list == [1, (2, 3)]
    assert found["optimizer"] == content["optimizer"]
    assert found["set"] == {"a", "b"}
    assert torch.equal(found["view"], shared[1:])


def test_a_pickle_of_python_2_is_followed():
    made = Outline().follow(io.BytesIO(b"ccollections\nOrderedDict\n((lp0\n(lp1\nS'a'\naI1\naatR."))
    assert made.kind == "object"
    with pytest.raises(UserError, match="keys"):
        Outline().follow(io.BytesIO(b"ccollections\nOrderedDict\n((lp0\n(lp1\nF1.5\naI1\naatR."))
