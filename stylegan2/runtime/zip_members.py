"""The members of a zip file without `zipfile`'s object for each, of which a million take a gigabyte and half a minute.

What a member holds is read, unpacked and checked by `zipfile`.
"""

import os
import struct
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

ENTRY = struct.Struct("<4s4xHH4xIIIHHH4xII")  # of the central directory (APPNOTE 4.3.12)
ENTRY_SIGNATURE, LOCAL_SIGNATURE, END_64_SIGNATURE = b"PK\x01\x02", b"PK\x03\x04", b"PK\x06\x06"
LOCAL_SIZE = 30
ENDS_64 = 56 + 20  # bytes of the two records that zip64 puts between the directory and its end
FULL = 0xFFFFFFFF  # stands for a number that is in the zip64 extra field
ZIP64 = 1
UTF_8 = 0x800
ENCRYPTED, PATCHED, STRONG = 0x1, 0x20, 0x40


class Member(NamedTuple):
    """Where a member lies, and how it is packed."""

    offset: int
    packed: int
    size: int
    checksum: int
    method: int
    flags: int

    @property
    def locked(self) -> str | None:
        """Return why it cannot be unpacked; None where it can."""
        if self.flags & (ENCRYPTED | STRONG):
            return "encrypted, which have to be unpacked first"
        try:
            zipfile._check_compression(self.method)  # type: ignore[attr-defined]
        except (NotImplementedError, RuntimeError):
            return "packed in a way that Python cannot read (Windows packs large files as Deflate64)"
        return None


def read_directory(path: str | os.PathLike) -> tuple[bytes, int]:
    """Read the central directory of a zip file.

    Returns:
        Its bytes, and how far members lie behind where it says, as something may have been put before a zip file.

    Raises:
        zipfile.BadZipFile: It is damaged.
        OSError: The disk refuses.
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

    Raises:
        zipfile.BadZipFile: It is damaged.
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
        name = directory[name_at:extra_at].decode("utf-8" if flags & UTF_8 else "cp437").partition("\0")[0]
        if FULL in (packed, size, offset):
            extra = directory[extra_at : extra_at + extra_length]
            size, packed, offset = _from_extra(extra, size, packed, offset)
        yield name, Member(offset + shift, packed, size, checksum, method, flags), attributes
        at = extra_at + extra_length + comment


def _from_extra(extra: bytes, *numbers: int) -> list[int]:
    """Replace numbers that are FULL by those of the zip64 extra field, which stand there in this order."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == ZIP64:
            given = iter(struct.unpack_from(f"<{min(length // 8, 3)}Q", extra, at + 4))
            try:
                return [next(given) if number == FULL else number for number in numbers]
            except StopIteration:
                break
        at += 4 + length
    raise zipfile.BadZipFile("Corrupt zip64 extra field")


def open_member(file: BinaryIO, name: str, member: Member) -> zipfile.ZipExtFile:
    """Open a member of a zip file that is open; its checksum is compared once it is read to its end.

    Raises:
        zipfile.BadZipFile: There is no member.
        RuntimeError: It is packed in a way that Python does not read.
    """
    file.seek(member.offset)
    local = file.read(LOCAL_SIZE)
    if len(local) < LOCAL_SIZE or not local.startswith(LOCAL_SIGNATURE):
        raise zipfile.BadZipFile("Bad magic number for file header")
    if member.flags & PATCHED:
        raise zipfile.BadZipFile("compressed patched data (flag bit 5)")
    if why := member.locked:
        raise RuntimeError(f"it is among files {why}")
    name_length, extra_length = struct.unpack_from("<HH", local, 26)
    file.seek(name_length + extra_length, os.SEEK_CUR)
    info = zipfile.ZipInfo(name)
    info.header_offset, info.compress_size, info.file_size = member.offset, member.packed, member.size
    info.CRC, info.compress_type, info.flag_bits = member.checksum, member.method, member.flags
    return zipfile.ZipExtFile(file, "r", info)
