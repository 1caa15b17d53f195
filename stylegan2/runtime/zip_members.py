"""The members of a zip file, listed as numbers and names.

`zipfile` creates an object per member, and a million of these take a gigabyte and half a minute. Members are still
read, decompressed and checked by `zipfile`.
"""

import os
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

ENTRY = struct.Struct("<4s4xHH4xIIIHHH4xII")  # an entry of the central directory (APPNOTE 4.3.12)
ENTRY_SIGNATURE, LOCAL_SIGNATURE, END_64_SIGNATURE = b"PK\x01\x02", b"PK\x03\x04", b"PK\x06\x06"
LOCAL_SIZE = 30
ENDS_64 = 56 + 20  # bytes of the two zip64 records between the central directory and its end record
ZIP64_MARKER = 0xFFFFFFFF  # marks a number that the zip64 extra field holds instead
ZIP64 = 1
UNICODE_NAME = 0x7075  # an extra field of Info-ZIP: version, checksum of the name, name in UTF-8 (APPNOTE 4.6.9)
UTF_8 = 0x800
OLD_CODES = ("cp437", "cp1252")  # the encodings of DOS, which the standard names, and of Windows
ENCRYPTED, PATCHED, STRONG = 0x1, 0x20, 0x40


class Member(NamedTuple):
    """The position of a member in its zip file, and its compression."""

    offset: int
    packed: int
    size: int
    checksum: int
    method: int
    flags: int

    @property
    def locked(self) -> str | None:
        """Return why the member cannot be decompressed, or None if it can be."""
        if self.flags & (ENCRYPTED | STRONG):
            return "encrypted files, which must be unpacked first"
        try:
            zipfile._check_compression(self.method)  # type: ignore[attr-defined]
        except (NotImplementedError, RuntimeError):
            return "files compressed in a way that Python cannot read (Windows compresses large files with Deflate64)"
        return None


def read_directory(path: str | os.PathLike) -> tuple[bytes, int]:
    """Read the central directory of a zip file.

    Returns:
        The bytes of the directory, and the number of bytes to add to the offsets in it, since other data may precede
        the zip file.

    Raises:
        zipfile.BadZipFile: The file is damaged or is not a zip file.
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if not end:
            raise zipfile.BadZipFile("File is not a zip file")
        size, offset, location = end[5], end[6], end[9]
        start = location - size - (ENDS_64 if end[0] == END_64_SIGNATURE else 0)
        if start < 0:
            raise zipfile.BadZipFile("Bad offset for central directory")
        file.seek(start)
        return file.read(size), start - offset


def members(directory: bytes, shift: int) -> Iterator[tuple[str, Member, int]]:
    """Yield (name, member, attributes of the file) for each entry of a central directory.

    Args:
        directory: The bytes that `read_directory` returned.
        shift: The number of bytes that `read_directory` returned, which is added to each offset.

    Raises:
        zipfile.BadZipFile: The directory is damaged.
    """
    at = 0
    while at < len(directory):
        if at + ENTRY.size > len(directory):
            raise zipfile.BadZipFile("Truncated central directory")
        entry = ENTRY.unpack_from(directory, at)
        signature, flags, method, checksum, packed, size, name_length, extra_length, comment, attributes, offset = entry
        if signature != ENTRY_SIGNATURE:
            raise zipfile.BadZipFile("Bad magic number for central directory")
        name_at = at + ENTRY.size
        extra_at = name_at + name_length
        name, extra = directory[name_at:extra_at], directory[extra_at : extra_at + extra_length]
        text = name.decode() if name.isascii() else _decoded(name, extra)
        if ZIP64_MARKER in (packed, size, offset):
            size, packed, offset = _from_extra(extra, size, packed, offset)
        yield text.partition("\0")[0], Member(offset + shift, packed, size, checksum, method, flags), attributes
        at = extra_at + extra_length + comment


def _decoded(name: bytes, extra: bytes) -> str:
    """Decode the name of a member.

    Few archives mark names as UTF-8: those of macOS are UTF-8 without a mark, and those of older programs for Windows
    are in one of two code pages. A name is read in the first encoding in which all its letters are Latin.
    """
    unicode_name = _extra_field(extra, UNICODE_NAME)
    if len(unicode_name) > 5 and int.from_bytes(unicode_name[1:5], "little") == zlib.crc32(name):
        name = unicode_name[5:]
    for encoding in ("utf-8", *OLD_CODES):
        try:
            text = name.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "utf-8" or all(x.isascii() or unicodedata.name(x, "").startswith("LATIN") for x in text):
            return text
    return name.decode(OLD_CODES[0])


def _from_extra(extra: bytes, *numbers: int) -> list[int]:
    """Replace numbers that are FULL by those of the zip64 extra field, which holds them in the same order."""
    field = _extra_field(extra, ZIP64)
    given = iter(struct.unpack_from(f"<{min(len(field) // 8, 3)}Q", field))
    try:
        return [next(given) if number == ZIP64_MARKER else number for number in numbers]
    except StopIteration:
        raise zipfile.BadZipFile("Corrupt zip64 extra field") from None


def _extra_field(extra: bytes, wanted: int) -> bytes:
    """Return the content of an extra field of a member, which is empty without that field."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == wanted:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def open_member(file: BinaryIO, name: str, member: Member) -> zipfile.ZipExtFile:
    """Open a member of an open zip file. Its checksum is verified when it has been read to its end.

    Raises:
        zipfile.BadZipFile: There is no member at this position.
        RuntimeError: The member is encrypted, or compressed in a way that Python cannot read.
    """
    file.seek(member.offset)
    local = file.read(LOCAL_SIZE)
    if len(local) < LOCAL_SIZE or not local.startswith(LOCAL_SIGNATURE):
        raise zipfile.BadZipFile("Bad magic number for file header")
    if member.flags & PATCHED:
        raise zipfile.BadZipFile("compressed patched data (flag bit 5)")
    if why := member.locked:
        raise RuntimeError(f"it is one of the {why}")
    name_length, extra_length = struct.unpack_from("<HH", local, 26)
    file.seek(name_length + extra_length, os.SEEK_CUR)
    info = zipfile.ZipInfo(name)
    info.header_offset, info.compress_size, info.file_size = member.offset, member.packed, member.size
    info.CRC, info.compress_type, info.flag_bits = member.checksum, member.method, member.flags
    return zipfile.ZipExtFile(file, "r", info)
