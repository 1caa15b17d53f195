"""The positions of the members of a tar file, read from its headers only, with bounds on everything the file claims.

Python's `tarfile`, which `webdataset` uses, reads members as a whole, decompresses any file that claims to be
compressed, and in earlier versions never ends on negative sizes. It also takes a thousand times longer to determine the
position of each image.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from stylegan2.runtime.errors import UserError

BLOCK = 512  # bytes of a header; contents are padded to multiples of it
MAX_HEADER = 2**16  # bytes of a long name or of PAX records
LONGEST_NAME = 255  # characters
REGULAR = (b"0", b"\0", b"7")
WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders and pipes, whose sizes are ignored
LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL, SPARSE = b"L", b"K", b"x", b"g", b"S"
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


class Member(NamedTuple):
    """A regular file in a tar file."""

    name: str
    """name in the tar file; "" if it is longer than any valid name"""
    start: int
    """offset of the content in bytes"""
    size: int
    """size of the content in bytes"""


class DamagedTarError(UserError):
    """A tar file is truncated or damaged from some byte on; the members before it are valid."""


def members(file: BinaryIO) -> Iterator[Member]:
    """Yield the regular files of an uncompressed tar file (POSIX ustar and PAX, GNU long names) in order.

    Raises:
        DamagedTarError: The file is truncated or damaged from some byte on; the members before it have been yielded.
        UserError: The file is no tar file, or is compressed.
    """
    end, place, name, size, sparse = file.seek(0, os.SEEK_END), 0, None, None, False
    while place + BLOCK <= end:
        header = _read(file, place, BLOCK)
        if not any(header):  # a block of zeros ends the file
            return
        claimed, kind = _check(header, place), header[156:157]
        start = place + BLOCK
        if kind in (LONG_NAME, PAX):
            _check_extent(start, claimed, end, place)
            content = _read(file, start, claimed) if claimed <= MAX_HEADER else b""
            if kind == LONG_NAME:
                name = content.partition(b"\0")[0]
            else:
                records = _records(content)
                name = records.get(b"path", name)
                size = _decimal(records[b"size"], place) if b"size" in records else size
                sparse = any(key.startswith(b"GNU.sparse.") for key in records)
            if claimed > MAX_HEADER:
                name = b""
        if kind in (LONG_NAME, PAX, LONG_LINK, PAX_GLOBAL):  # these precede the member that they describe
            place = start + _whole(claimed)
            continue
        if kind == SPARSE or sparse:
            raise DamagedTarError(f"it contains a sparse file at byte {place:,}, which is not supported")
        claimed = claimed if size is None else size
        if kind in WITHOUT_CONTENT:
            claimed = 0
        _check_extent(start, claimed, end, place)
        if kind in REGULAR:
            yield Member(_text(_own_name(header) if name is None else name), start, claimed)
        place, name, size = start + _whole(claimed), None, None
    if place != end or end == 0:
        raise DamagedTarError(f"it is truncated at byte {end:,}")


def name_at(file: BinaryIO, start: int) -> str:
    """Return the name in the header of a member for messages, at most 255 bytes of it.

    Args:
        file: The open tar file.
        start: Offset of the content of the member in bytes.
    """
    return _text(_own_name(_read(file, start - BLOCK, BLOCK)))


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _check(header: bytes, place: int) -> int:
    """Verify the checksum of a header and return the size that it claims. UserError: it is no header of a tar file."""
    stored = header[148:156].strip(b" \0")
    total = sum(header) - sum(header[148:156]) + 8 * 0x20  # the checksum counts as spaces within itself
    if not stored.isdigit() or _octal(stored) != total:
        if place:
            raise DamagedTarError(f"it is damaged from byte {place:,} on")
        if header.startswith(COMPRESSED):
            raise UserError(
                "it is compressed, so pictures cannot be read from their positions: unpack it to a .tar file"
            )
        raise UserError("it is not a tar file")
    field = header[124:136]
    size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field.strip(b" \0") or b"0")
    if size < 0:
        raise DamagedTarError(f"it is damaged from byte {place:,} on")
    return size


def _octal(digits: bytes) -> int:
    return int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else -1


def _decimal(digits: bytes, place: int) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise DamagedTarError(f"it is damaged from byte {place:,} on")
    return int(digits)


def _check_extent(start: int, size: int, end: int, place: int) -> None:
    if start + size > end:
        raise DamagedTarError(f"it is truncated: the member at byte {place:,} claims {size:,} bytes")


def _whole(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _own_name(header: bytes) -> bytes:
    """Return the name in a header, with its prefix if it has one (POSIX 1003.1, ustar interchange format)."""
    name, prefix = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _records(content: bytes) -> dict[bytes, bytes]:
    """Parse PAX records, lines of the form `LENGTH key=value`, up to the first malformed one: {key: value}."""
    records, place = {}, 0
    while (space := content.find(b" ", place, place + 8)) > place:
        digits = content[place:space]
        end = place + (int(digits) if digits.isdigit() else 0)
        if not space < end <= len(content):
            break
        key, _, value = content[space + 1 : end - 1].partition(b"=")
        records[key], place = value, end
    return records


def _text(name: bytes) -> str:
    text = name.decode("utf-8", "surrogateescape").removeprefix("./")
    return text if len(text) <= LONGEST_NAME else ""
