"""Check that a file of torch.save holds what it claims before PyTorch reads it.

PyTorch trusts the sizes of storages and tensors in the pickle of the file, and unpacks any file.
"""

import io
from collections.abc import Mapping
from typing import IO

from stylegan2.runtime.bounded import open_zip, read_member
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.pickle_outline import ConstructedObject, GlobalReference, Outline

ITEM_BYTES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
}
ZIP = b"PK\x03\x04"
LARGEST_PICKLE = 256 * 2**20  # bytes of the pickle in a file, which contains names and settings but no numbers


def check_torch(file: IO[bytes]) -> None:
    """Check a file of PyTorch, in the zip format or in the one before version 1.6.

    Args:
        file: The file, open at its beginning.

    Raises:
        UserError: The file claims more than it holds, or has tensors that are not dense tensors of plain numbers.
        Exception: The file is damaged; the class of the exception depends on the damage.
    """
    start = file.read(len(ZIP))
    file.seek(0)
    if start == ZIP:
        _check_zip(file)
    else:
        _check_legacy(file)


def _check_zip(file: IO[bytes]) -> None:
    with open_zip(file) as archive:
        members = {member.filename.lower(): member.file_size for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise UserError("it has two members of the same name")
        pickles = [member.filename for member in archive.infolist() if member.filename.lower().endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UserError("it is a zip file that PyTorch did not write")
        top = pickles[0].rpartition("/")[0].lower()
        records = {name.removeprefix(f"{top}/data/"): size for name, size in members.items()}
        content = read_member(archive, pickles[0], LARGEST_PICKLE)
    Outline(lambda found: _storage(found, records)[0]).follow(io.BytesIO(content))


def _check_legacy(file: IO[bytes]) -> None:
    """Check a file of five pickles (two numbers, the machine, the content, keys of storages) and the storages' data."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    claimed: dict[str, int] = {}

    def storage(found: object) -> ConstructedObject:
        made, key, needed = _storage(found, None)
        claimed[key] = max(claimed.get(key, 0), needed)
        if sum(claimed.values()) > size:
            raise UserError("its storages are larger than the file")
        return made

    outline = Outline(storage)
    for _ in range(5):
        outline.follow(file)


def _storage(found: object, records: Mapping[str, int] | None) -> tuple[ConstructedObject, str, int]:
    """Make the outline of a storage from its persistent id, ("storage", class, key, device, numel, ...).

    Args:
        found: The outline of the persistent id.
        records: {key: bytes} of the records in the file; None if the file does not list them.

    Returns:
        The outline, the key, and the bytes that the storage needs.

    Raises:
        UserError: The id is damaged, or its record holds fewer bytes.
    """
    if not isinstance(found, ConstructedObject) or len(found.items) < 5 or found.items[0] != "storage":
        raise UserError("it has a storage that is damaged")
    kind, key, _, numel = found.items[1:5]
    if not isinstance(kind, GlobalReference) or kind.name not in ITEM_BYTES:
        raise UserError(
            f"it has a storage of {getattr(kind, 'name', 'no type')[:50]}, but only plain numbers can be read"
        )
    if type(numel) is not int or numel < 0 or not isinstance(key, str):
        raise UserError("it has a storage that is damaged")
    needed = numel * ITEM_BYTES[kind.name]
    if records is not None and records.get(key.lower(), -1) < needed:
        raise UserError(f"it claims {numel:,} numbers but contains fewer")
    return ConstructedObject("storage", numel=numel), key, needed
