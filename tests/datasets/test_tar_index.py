"""The positions of members of a tar file agree with Python's own reader; damaged and hostile files are rejected."""

import io
import tarfile
import time

import pytest

from datasets.tar_index import DamagedTarError, Member, members, name_at
from stylegan2.runtime.errors import UserError


def packed(entries, format=tarfile.USTAR_FORMAT, pax=None):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format, pax_headers=pax) as archive:
        for name, content, kind in entries:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            info.linkname = "elsewhere" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


ENTRIES = [
    ("a/000.jpg", b"x" * 700, tarfile.REGTYPE),
    ("folder", b"", tarfile.DIRTYPE),
    ("link.jpg", b"", tarfile.SYMTYPE),
    ("ä" * 40 + "/" + "long" * 20 + "/name.png", b"y" * 512, tarfile.REGTYPE),
    ("empty.cls", b"", tarfile.REGTYPE),
    ("last.json", b"{}", tarfile.REGTYPE),
]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_tarfile_finds(format):
    content = packed(ENTRIES, format, {"comment": "of all"} if format == tarfile.PAX_FORMAT else None)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        expected = [Member(m.name, m.offset_data, m.size) for m in archive if m.isreg()]
    assert list(members(io.BytesIO(content))) == expected
    assert [member.name for member in expected] == [name for name, _, kind in ENTRIES if kind == tarfile.REGTYPE]
    assert name_at(io.BytesIO(content), expected[0].start) == "a/000.jpg"


def test_a_size_beyond_eight_gigabytes_is_read(tmp_path):
    header = bytearray(packed([("a.jpg", b"", tarfile.REGTYPE)], tarfile.GNU_FORMAT)[:512])
    header[124:136] = b"\x80" + (9 * 2**30).to_bytes(11, "big")
    (tmp_path / "large.tar").write_bytes(with_checksum(header))
    with (tmp_path / "large.tar").open("r+b") as file:
        file.truncate(512 + 9 * 2**30)  # a file with a hole takes no room
        assert list(members(file)) == [Member("a.jpg", 512, 9 * 2**30)]


def with_checksum(header):
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def found_before(content):
    """Return the names that were yielded, and the sentence of the error after them."""
    names = []
    with pytest.raises(UserError) as raised:
        for member in members(io.BytesIO(content)):
            names.append(member.name)
    assert len(str(raised.value).splitlines()) == 1
    return names, raised


def test_what_lies_before_the_damage_is_found():
    content = packed(ENTRIES)
    names, raised = found_before(content[: 512 + 1024 + 512 * 3 + 100])
    assert names == ["a/000.jpg"]
    assert raised.type is DamagedTarError
    damaged = bytearray(packed([(f"{n}.jpg", b"z" * 10, tarfile.REGTYPE) for n in range(4)]))
    damaged[2 * 1024 + 10] ^= 1
    names, raised = found_before(bytes(damaged))
    assert names == ["0.jpg", "1.jpg"]
    assert str(raised.value) == "it is damaged from byte 2,048 on"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is truncated at byte 0"),
        (b"\x1f\x8b" + bytes(1000), "it is compressed"),
        (b"no tar" * 200, "it is not a tar file"),
        (b"\xff" * 2048, "it is not a tar file"),
    ],
)
def test_what_is_no_tar_file(content, words):
    names, raised = found_before(content)
    assert names == []
    assert words in str(raised.value)


def headed(name, size, kind, content=b""):
    header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    header[156:157] = kind
    header[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    return with_checksum(header) + content + bytes(-len(content) % 512)


@pytest.mark.parametrize(
    "size", [b"-0000000001\0", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"77777777777\0", b"99999999999\0"]
)
def test_sizes_that_no_file_has(size):
    """Earlier versions of Python's reader never end on a negative size."""
    names, raised = found_before(headed("a.jpg", 3, b"0", b"abc") + headed("b.jpg", size, b"0"))
    assert names == ["a.jpg"]
    assert raised.type is DamagedTarError


def test_headers_that_cost_time_or_memory_do_not():
    chain = headed("././@PaxHeader", 20, b"x", b"20 path=aaaaaaaaaaa\n") * 20_000
    redos = b"1" * 60_000 + b"="
    content = (
        chain
        + headed("p", len(redos), b"x", redos)
        + headed("l", 200_000, b"L", b"n" * 200_000)
        + headed("a.jpg", 3, b"0", b"abc")
        + headed("pipe", 10**9, b"6")
        + headed("b.jpg", 3, b"0", b"abc")
        + bytes(1024)
    )
    started = time.perf_counter()
    assert [member.name for member in members(io.BytesIO(content))] == ["", "b.jpg"]
    assert time.perf_counter() - started < 5


def test_a_sparse_file_is_refused():
    record = b"22 GNU.sparse.major=1\n"
    names, raised = found_before(headed("x", len(record), b"x", record) + headed("a.jpg", 3, b"0", b"abc"))
    assert names == []
    assert "sparse" in str(raised.value)
