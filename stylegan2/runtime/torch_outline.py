"""Whether a file that torch.save wrote holds what it claims, found out before PyTorch reads it.

PyTorch takes the sizes of storages and tensors from the pickle in the file, and unpacks whatever it is given.
"""

import io
from collections.abc import Mapping
from typing import IO, Any

from stylegan2.runtime.bounded import open_zip, read_member
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.pickle_outline import Made, Named, Outline

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
LARGEST_PICKLE = 256 * 2**20  # bytes of the pickle in a file, which holds names and settings and no numbers


def check_torch(file: IO[bytes]) -> None:
    """Raise UserError where a file of PyTorch, zipped or of before version 1.6, claims more than it holds.

    Args:
        file: Open at its beginning.

    Raises:
        UserError: It does, or has what is no dense tensor of plain numbers on a device.
        Exception: Of several kinds: it is damaged.
    """
    start = file.read(len(ZIP))
    file.seek(0)
    if start == ZIP:
        _check_zip(file)
    else:
        _check_legacy(file)


def _check_zip(file: IO[bytes]) -> None:
    with open_zip(file) as archive:  # type: ignore[arg-type]
        members = {member.filename.lower(): member.file_size for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise UserError("it has two members of one name")
        pickles = [member.filename for member in archive.infolist() if member.filename.lower().endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UserError("it is a zip file, and none that PyTorch wrote")
        top = pickles[0].rpartition("/")[0].lower()
        records = {name.removeprefix(f"{top}/data/"): size for name, size in members.items()}
        content = read_member(archive, pickles[0], LARGEST_PICKLE)
    Outline(lambda found: _storage(found, records)).follow(io.BytesIO(content))


def _check_legacy(file: IO[bytes]) -> None:
    """Four pickles (two numbers, the machine, the content), a fifth of the storages' keys, and their numbers."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    claimed: dict[str, int] = {}

    def storage(found: Any) -> Made:
        made = _storage(found, None)
        key, needed = made.items
        claimed[key] = max(claimed.get(key, 0), needed)
        if sum(claimed.values()) > size:
            raise UserError("its storages are larger than the file")
        return made

    outline = Outline(storage)
    for _ in range(5):
        outline.follow(file)


def _storage(found: Any, records: Mapping[str, int] | None) -> Made:
    """The outline of ("storage", class, key, device, numel, ...), where a record of that key holds as many bytes."""
    if not isinstance(found, Made) or len(found.items) < 5 or found.items[0] != "storage":
        raise UserError("it has a storage that is damaged")
    kind, key, _, numel = found.items[1:5]
    if not isinstance(kind, Named) or kind.name not in ITEM_BYTES:
        raise UserError(f"it has a storage of {getattr(kind, 'name', 'no type')[:50]}, where plain numbers are read")
    if type(numel) is not int or numel < 0 or not isinstance(key, str):
        raise UserError("it has a storage that is damaged")
    needed = numel * ITEM_BYTES[kind.name]
    if records is not None and records.get(key.lower(), -1) < needed:
        raise UserError(f"it claims {numel:,} numbers where fewer are")
    return Made("storage", [key, needed], numel)
