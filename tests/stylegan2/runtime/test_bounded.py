"""JSON, arrays and archives that claim more than they hold, unpack to more than they are, or are of other types."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from stylegan2.runtime.bounded import parse_json, read_arrays, read_json, reading
from stylegan2.runtime.errors import CheckpointError, UserError
from tests.hostile import answer


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "1" * 5000,
        "-" + "9" * 400,
        '{"a": 1' + "0" * 30 + "}",
        "{",
        "",
        "\ud800",
        b"\xff\xfe\x00",
        b"\x80abc",
        '"' + "\\" * 7,
    ],
)
def test_json_beyond_any_real_file_is_one_sentence(text):
    assert answer(parse_json, text)


def test_json_of_people_is_read():
    assert parse_json('{"a": [1, -2.5, "x", null, true, 9007199254740993]}')["a"] == [
        *(1, -2.5, "x", None, True),
        9007199254740993,
    ]
    assert parse_json('\ufeff{"é": 1}'.encode("utf-16")) == {"é": 1}
    assert parse_json(json.dumps({"a": "[" * 1000 + '\\"' * 100}))["a"].startswith("[[")


def test_a_long_json_file_is_not_read_whole(tmp_path):
    (tmp_path / "x.json").write_text('"' + "a" * 1000 + '"')
    assert len(read_json(tmp_path / "x.json", 2000)) == 1000
    with pytest.raises(UserError, match="longer than"):
        read_json(tmp_path / "x.json", 100)


def npy(header, content=b""):
    text = header.encode("latin1").ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def archive(path, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000, 18, 512), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1" + "0" * 60 + ",), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (9999999,), }",
        "{'descr': '<U0', 'fortran_order': False, 'shape': (999999999999,), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 20 + "), }",
        "(" * 90,
        "{'descr': '<f4', 'fortran_order': 5, 'shape': 5, }",
        "__import__('os').abort()",
    ],
)
def test_arrays_that_claim_more_than_they_hold(tmp_path, header):
    path = archive(tmp_path / "a.npz", a=npy(header, b"\0" * 8))

    def call():
        with reading(path, "a file of arrays"):
            read_arrays(path, ("a",))

    assert answer(call)


def test_deep_headers_are_one_sentence(tmp_path):
    text = b"(" * 9000
    path = archive(tmp_path / "a.npz", a=b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)

    def call():
        with reading(path, "a file of arrays"):
            read_arrays(path)

    assert answer(call)


def test_archives_that_unpack_to_more_than_they_are(tmp_path):
    file = io.BytesIO()
    np.save(file, np.zeros(2**27, np.uint8))
    bomb = archive(tmp_path / "b.npz", zipfile.ZIP_DEFLATED, **{f"a{k}": file.getvalue() for k in range(20)})
    assert bomb.stat().st_size < 4_000_000

    def call():
        with reading(bomb, "a file of arrays"):
            read_arrays(bomb)

    assert "would unpack to" in answer(call)


def test_arrays_are_as_numpy_reads_them(tmp_path):
    arrays = {
        "f": np.asfortranarray(np.random.rand(3, 4)),
        "n": np.array(["a", "ü"]),
        "s": np.float32(3),
        "b": np.ones(3),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    found = read_arrays(tmp_path / "a.npz")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == np.asarray(array).dtype
    assert list(read_arrays(tmp_path / "a.npz", ("n", "x"))) == ["n"]


def test_a_zip_of_too_many_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as file:
        for k in range(100_001):
            file.writestr(zipfile.ZipInfo(f"{k}"), b"")
    with pytest.raises(UserError, match="100,001 members"):
        read_arrays(tmp_path / "many.npz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a pointer of Git LFS"),
        ("\n<!DOCTYPE html><title>Virus scan warning</title>", "a web page, not the file itself"),
        ("<xml>", "damaged or not a checkpoint"),
    ],
)
def test_what_a_download_left_in_place_of_a_file_is_named(content, words, tmp_path):
    (tmp_path / "x.pt").write_text(content)
    with pytest.raises(UserError, match=words), reading(tmp_path / "x.pt", "a checkpoint"):
        raise ValueError("opcode")


def test_what_a_parser_raises_becomes_one_sentence(tmp_path):
    for error in (
        ValueError("a\nb"),
        KeyError("x"),
        RecursionError(),
        OverflowError("big"),
        TypeError("t"),
        MemoryError(),
    ):
        with pytest.raises(CheckpointError) as raised, reading(tmp_path / "x", "a file of codes", CheckpointError):
            raise error
        assert "damaged or not a file of codes" in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="there is no file"), reading(tmp_path / "x", "a file"):
        (tmp_path / "x").read_bytes()
