"""The members of a tar file by place, found from its headers alone and within bounds, whatever the file claims.

Python's `tarfile`, on which `webdataset` stands, reads a member whole, unpacks whatever claims to be compressed, and in
earlier versions runs for ever on sizes below zero; and it needs a thousand times longer for what a training asks, where
each picture lies.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from stylegan2.runtime.errors import UserError

BLOCK = 512  # bytes of a header, of which content takes whole ones
MOST_HEADER = 2**16  # bytes of a long name or of PAX records
LONGEST_NAME = 255  # characters
REGULAR = (b"0", b"\0", b"7")
WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders and pipes, whatever size they claim
LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL, SPARSE = b"L", b"K", b"x", b"g", b"S"
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


class Member(NamedTuple):
    """A regular file in a tar file."""

    name: str
    """as the tar file has it; "" where it is longer than any real one"""
    start: int
    """its content's first byte"""
    size: int
    """of its content"""


class DamagedTarError(UserError):
    """A tar file ends early or breaks; what was found before is good."""


def members(file: BinaryIO) -> Iterator[Member]:
    """Yield the regular files of an uncompressed tar file (POSIX ustar and PAX, GNU long names), in their order.

    Raises:
        DamagedTarError: It is cut short or damaged from some byte on, after the members before that were yielded.
        UserError: It is no tar file, or a compressed one.
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
            content = _read(file, start, claimed) if claimed <= MOST_HEADER else b""
            if kind == LONG_NAME:
                name = content.partition(b"\0")[0]
            else:
                records = _records(content)
                name = records.get(b"path", name)
                size = _decimal(records[b"size"], place) if b"size" in records else size
                sparse = any(key.startswith(b"GNU.sparse.") for key in records)
            if claimed > MOST_HEADER:
                name = b""
        if kind in (LONG_NAME, PAX, LONG_LINK, PAX_GLOBAL):  # which stand before the member that they tell of
            place = start + _whole(claimed)
            continue
        if kind == SPARSE or sparse:
            raise DamagedTarError(f"it holds a sparse file at byte {place:,}, which is not read here")
        claimed = claimed if size is None else size
        if kind in WITHOUT_CONTENT:
            claimed = 0
        _check_extent(start, claimed, end, place)
        if kind in REGULAR:
            yield Member(_text(_own_name(header) if name is None else name), start, claimed)
        place, name, size = start + _whole(claimed), None, None
    if place != end or end == 0:
        raise DamagedTarError(f"it is cut short at byte {end:,}")


def name_at(file: BinaryIO, start: int) -> str:
    """Return the name in the header before a member's content, for messages: at most its first 255 bytes."""
    return _text(_own_name(_read(file, start - BLOCK, BLOCK)))


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _check(header: bytes, place: int) -> int:
    """Return the size that a header claims. UserError: it is no header of a tar file."""
    stored = header[148:156].strip(b" \0")
    total = sum(header) - sum(header[148:156]) + 8 * 0x20  # the checksum counts as spaces within itself
    if not stored.isdigit() or _octal(stored) != total:
        if place:
            raise DamagedTarError(f"it is damaged from byte {place:,} on")
        if header.startswith(COMPRESSED):
            raise UserError("it is compressed: unpack it to a .tar file, since pictures are read at their places in it")
        raise UserError("it is no tar file")
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
        raise DamagedTarError(f"it is cut short: the member at byte {place:,} claims {size:,} bytes")


def _whole(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _own_name(header: bytes) -> bytes:
    """Return the name of a header, after its prefix where it has one (POSIX 1003.1, ustar interchange format)."""
    name, prefix = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _records(content: bytes) -> dict[bytes, bytes]:
    """Return {key: value} of PAX records, `LENGTH key=value` and a line feed each; as far as they are in order."""
    found, place = {}, 0
    while (space := content.find(b" ", place, place + 8)) > place:
        digits = content[place:space]
        end = place + (int(digits) if digits.isdigit() else 0)
        if not space < end <= len(content):
            break
        key, _, value = content[space + 1 : end - 1].partition(b"=")
        found[key], place = value, end
    return found


def _text(name: bytes) -> str:
    text = name.decode("utf-8", "surrogateescape").removeprefix("./")
    return text if len(text) <= LONGEST_NAME else ""
