"""Checkpoints: safetensors files with tensors and JSON, which are written atomically and verified when read."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from stylegan2.runtime.bounded import parse_json, reading
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.files import atomic_file, remove_partial_files

FORMAT_KEY, FORMAT_VERSION = "psp_checkpoint", "1"
NUMBERED = re.compile(r".+-(\d{9,})\.safetensors")
LONGEST_HEADER = 16 * 2**20  # bytes of names, shapes and metadata; the optimizers of a 1024 px training take 1 MB
DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

Metadata = dict[str, Any]
"""the JSON object that describes the tensors of a checkpoint"""


def checkpoint_path(folder: str | os.PathLike, name: str, number: int) -> Path:
    """Return folder/checkpoints/NAME-000123456.safetensors, where `number` is cur_nimg or the step."""
    return Path(folder) / "checkpoints" / f"{name}-{number:09d}.safetensors"


# ------------------------------------------------------------------------------------------- one file


def save(path: str | os.PathLike, tensors: Mapping[str, Tensor], metadata: Metadata) -> None:
    """Write `tensors` and JSON `metadata` to `path` (.safetensors) atomically, with a SHA-256 over both.

    Args:
        path: The file, which is replaced.
        tensors: Tensors on any device, also strided or 0-dimensional ones, or ones that share memory; each is stored
            separately.
        metadata: An object that JSON can hold.

    Raises:
        CheckpointError: The disk is full or read-only, or a tensor cannot be stored; `path` is then unchanged.
    """
    dense = {name: _dense(name, tensor) for name, tensor in tensors.items()}
    text = json.dumps(metadata)
    try:
        parse_json(text, LONGEST_HEADER)
    except UserError as error:  # or the file could be written, and never read
        raise CheckpointError(f"the metadata of {str(path)!r} cannot be saved: {error}") from error
    header = _header(dense, text)
    if len(header) > LONGEST_HEADER:
        raise CheckpointError(f"{str(path)!r} cannot be saved: its names and metadata are longer than allowed")
    try:
        with atomic_file(path) as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for name in _storage_order(dense):
                file.write(_bytes(dense[name]))
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"cannot save checkpoint {str(path)!r}: {reason}; nothing there was changed") from error


def read(path: str | os.PathLike) -> tuple[dict[str, Tensor], Metadata]:
    """Read the tensors, on the CPU, and the metadata of a file that `save` wrote, and verify its SHA-256.

    Raises:
        CheckpointError: There is no such file, it is damaged, or `save` did not write it.
    """
    name = repr(str(path))
    tensors, header = read_safetensors(path)
    if FORMAT_KEY not in header:
        raise CheckpointError(f"{name} is a safetensors file, but not a checkpoint of this package")
    if header[FORMAT_KEY] != FORMAT_VERSION:
        raise CheckpointError(f"{name} has checkpoint format {header[FORMAT_KEY]!r}: it needs another version of psp")
    text = header.get("metadata", "")
    if header.get("sha256") != _digest(tensors, text):
        raise CheckpointError(f"{name} is damaged: its content does not match its SHA-256")
    return tensors, _metadata(name, text)


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return (tensors on the CPU, the text beside them) of a file in the safetensors format from any program.

    Raises:
        CheckpointError: There is no such file, it is damaged, or holds numbers of a type that is not read here.
    """
    name = repr(str(path))
    if not Path(path).is_file():
        raise CheckpointError(f"there is no checkpoint file {name}")
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            # Memory-mapped tensors would change, or crash the process, when the file changes; so they are copied.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (not a dict)
    except Exception as error:  # the parser, the disk and memory raise different errors for a damaged file
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{name} is damaged or not a checkpoint of this package ({reason})") from error
    if strange := [key for key, tensor in tensors.items() if tensor.dtype not in DTYPE_NAMES]:
        raise CheckpointError(f"{name} contains {strange[0]!r} as {tensors[strange[0]].dtype}, which is not supported")
    return tensors, header


def is_of_others(path: str | os.PathLike) -> bool:
    """Return whether a file is an intact safetensors file that another program wrote; its tensors are not read."""
    if not is_safetensors(path):
        return False
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return FORMAT_KEY not in (file.metadata() or {})
    except Exception:  # damaged: `read` raises the error for this
        return False


def _check_header(path: str | os.PathLike) -> None:
    """Raise a CheckpointError if the header is longer than in any checkpoint of ours, before it is parsed."""
    with reading(path, "a checkpoint", CheckpointError), open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > LONGEST_HEADER:
        raise CheckpointError(f"{str(path)!r} is damaged or not a checkpoint of this package (its header is too long)")


def _metadata(name: str, text: str) -> Metadata:
    try:
        metadata = parse_json(text, LONGEST_HEADER)
    except UserError as error:
        raise CheckpointError(f"the metadata of {name} cannot be read: {error}") from error
    if not isinstance(metadata, dict):
        raise CheckpointError(
            f"the metadata of {name} must be an object of names and values, not a {type(metadata).__name__}"
        )
    return metadata


def is_safetensors(path: str | os.PathLike) -> bool:
    """Return whether a file begins as a safetensors file does: the length of its header in 8 bytes, then JSON."""
    with open(path, "rb") as file:
        return file.read(9)[5:] == b"\0\0\0{"


def _dense(name: str, tensor: Tensor) -> Tensor:
    if name == "__metadata__" or tensor.dtype not in DTYPE_NAMES or tensor.layout != torch.strided:
        raise CheckpointError(f"a checkpoint cannot hold tensor {name!r} ({tensor.dtype}, {tensor.layout})")
    return tensor.detach().cpu().contiguous()


def _bytes(dense: Tensor) -> memoryview:
    return dense.reshape(-1).view(torch.uint8).numpy().data  # [numel * itemsize]


def _storage_order(dense: Mapping[str, Tensor]) -> list[str]:
    """Return the names, widest items first, so that every tensor is aligned in the file (as in safetensors itself)."""
    return sorted(dense, key=lambda name: (-dense[name].element_size(), name))


def _digest(dense: Mapping[str, Tensor], metadata: str) -> str:
    """Return the SHA-256 over the metadata and, in the order of names, each tensor's name, dtype, shape and bytes."""
    sha = hashlib.sha256(metadata.encode())
    for name in sorted(dense):
        tensor = dense[name]
        sha.update(json.dumps([name, DTYPE_NAMES.get(tensor.dtype), list(tensor.shape)]).encode())
        sha.update(_bytes(tensor))
    return sha.hexdigest()


def _header(dense: Mapping[str, Tensor], metadata: str) -> bytes:
    """Return the JSON header of the safetensors format: dtype, shape and byte range of each tensor, and metadata."""
    entries: dict[str, dict[str, object]] = {
        "__metadata__": {FORMAT_KEY: FORMAT_VERSION, "sha256": _digest(dense, metadata), "metadata": metadata}
    }
    end = 0
    for name in _storage_order(dense):
        tensor = dense[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


# ------------------------------------------------------------------------------------- a folder of files


def newest(folder: str | os.PathLike) -> tuple[Path, dict[str, Tensor], Metadata] | None:
    """Read the newest intact checkpoint of a run, or return None if the run has none yet.

    The newest checkpoint has the highest number in its name; the time of modification decides between equal numbers.
    One line is printed where a damaged file is skipped.

    Args:
        folder: The folder of the run, whose `checkpoints/*.safetensors` count, or else a folder of `*.safetensors`.

    Returns:
        The path, the tensors and the metadata.

    Raises:
        CheckpointError: There are checkpoints, but none can be read; a fresh start would hide the loss.
    """
    damaged = []
    for path in _newest_first(folder):
        try:
            tensors, metadata = read(path)
        except CheckpointError as error:
            damaged.append(str(error))
            continue
        if damaged:
            print(f"{'; '.join(damaged)}; using {str(path)!r} instead")
        return path, tensors, metadata
    if damaged:
        raise CheckpointError(
            f"no checkpoint in {str(folder)!r} can be read; move them away to start from the beginning: {damaged[0]}"
        )
    return None


def read_newest(folder: str | os.PathLike) -> tuple[Path, dict[str, Tensor], Metadata]:
    """Read the newest intact checkpoint as `newest` does, but raise a UserError if the folder holds none."""
    checkpoint = newest(folder)
    if checkpoint is None:
        raise UserError(f"there is no checkpoint in the folder {str(folder)!r}")
    return checkpoint


def check_resumable(path: Path, metadata: Metadata, needed: Iterable[str]) -> None:
    """Raise a CheckpointError unless the metadata has the keys that a training needs to resume."""
    if any(key not in metadata for key in needed):
        raise CheckpointError(
            f"{str(path)!r} contains a model but not the state of this training (it was exported, or written by "
            f"another script), so training cannot resume from it: move it out of this folder, or use another exp_dir"
        )


def whole_number(metadata: Metadata, name: str, default: int | None = None) -> int:
    """Return a count from the metadata. CheckpointError: it is not a count."""
    count = metadata.get(name, default)
    if type(count) is not int or not 0 <= count < 2**53:
        raise CheckpointError(f"its {name} is {str(count)[:50]}, which is not a count")
    return count


def prune(folder: str | os.PathLike, keep: int) -> list[Path]:
    """Delete all numbered checkpoints except the `keep` newest ones and the newest intact one.

    Files without a number in their name stay. Leftovers of a save that was killed are removed too, so only the process
    that saves may call this.

    Returns:
        The deleted files.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, not {keep}")
    remove_partial_files(_checkpoint_folder(folder))
    numbered = [path for path in _newest_first(folder) if _number(path) >= 0]
    if len(numbered) <= keep:
        return []
    newest_intact = next((path for path in numbered if _is_intact(path)), None)
    if newest_intact is None:
        return []
    deleted = [path for path in numbered[keep:] if path != newest_intact]
    for path in deleted:
        path.unlink(missing_ok=True)
    return deleted


def _checkpoint_folder(folder: str | os.PathLike) -> Path:
    inner = Path(folder) / "checkpoints"
    return inner if inner.is_dir() else Path(folder)


def _number(path: Path) -> int:
    match = NUMBERED.fullmatch(path.name)
    return int(match.group(1)) if match else -1


def _newest_first(folder: str | os.PathLike) -> list[Path]:
    paths = _checkpoint_folder(folder).glob("*.safetensors")
    return sorted(paths, key=lambda path: (_number(path), path.stat().st_mtime_ns, path.name), reverse=True)


def _is_intact(path: Path) -> bool:
    try:
        read(path)
    except CheckpointError:
        return False
    return True
