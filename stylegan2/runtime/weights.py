"""Tables of pretrained files, with their licences, and the places where files are looked for.

Nothing here opens a network connection; only `stylegan2.runtime.download` does, on request. A file is first looked for
by its name in the folder of weights, which is the environment variable PSP_WEIGHTS or `weights` in the folder of
caches, and then in the place that its entry names:

    package:NAME    inside an installed distribution, found without importing it
    torchvision:    the checkpoints folder of torch.hub, where torchvision stores its downloads
    facenet:        the checkpoints folder of torch, where facenet-pytorch stores its downloads
    user:           no place of its own: only a path that the user gives, or the folder of weights
    shipped:NAME    the folder `pretrained` of our package NAME
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.files import cache_folder
from stylegan2.runtime.tensors import load_module

FOLDER_VARIABLE = "PSP_WEIGHTS"
KINDS = {"psp": "pSp model", "stylegan2": "generator", "segmenter": "network"}  # {kind in our files: name for people}
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Download:
    """The address of a file."""

    url: str
    page: str
    """the web page of the publisher, for people"""
    megabytes: int | None = None
    """approximate size; None if it is unknown"""


@dataclass(frozen=True)
class PretrainedFile:
    """One pretrained file; each text is a phrase that fits into the message of `locate`."""

    name: str
    """key in the table"""
    file: str
    """name of the file, without a folder"""
    description: str
    """description of the content"""
    location: str
    """place where the file is looked for, in the notation of this module"""
    sha256: str | None
    """SHA-256 in hexadecimal, or its leading digits (torchvision writes 8 into the name of a file); None if it is
    unknown, and the file is then not verified"""
    licence: str
    source: str
    """how to get the file"""
    fallback: str
    """what to do without the file"""
    kind: str = "network"
    """type of the content: "generator", "pSp model", "directions", or "network" for losses and metrics"""
    domain: str = ""
    """what its images show, such as faces"""
    resolution: int | None = None
    """side, in pixels, of the images that it makes"""
    task: str = ""
    """what a pSp model does with an image"""
    download: Download | None = None


class PretrainedFiles:
    """The pretrained files that one package uses: those of a table, and the models that come with the package.

    Args:
        package: Name of the package, whose folder `pretrained` holds the models that come with it.
        table: The other files.
    """

    def __init__(self, package: str, table: Sequence[PretrainedFile] = ()) -> None:
        self.package = package
        self.entries = {entry.name: entry for entry in (*table, *_shipped(package))}

    @property
    def shipped(self) -> list[str]:
        """Return the names of the files that come with the package."""
        return sorted(name for name, entry in self.entries.items() if entry.location == f"shipped:{self.package}")

    def shipped_as(self, kind: str) -> list[str]:
        """Return the names of the files of one kind that come with the package."""
        return [name for name in self.shipped if self.entries[name].kind == kind]

    def locate_model(self, name: str, kind: str) -> Path:
        """Return the file of a model that comes with the package or was downloaded.

        Args:
            name: Key in the table.
            kind: Kind of the model, such as "generator".

        Raises:
            UserError: There is no model of that name, or it is not on this machine.
        """
        entry = self.entries.get(name)
        if entry is not None and entry.kind == kind:
            return self.locate(name)
        known = ", ".join(self.shipped_as(kind))
        others = f"; models that come with this package: {known}" if known else ""
        published = any(entry.kind == kind and entry.download for entry in self.entries.values())
        hint = "; `psp models` lists those that can be downloaded" if published else ""
        raise UserError(f"there is no {kind} {name!r}: give a file or an experiment folder{others}{hint}")

    def find(self, name: str, path: str | Path | None = None) -> Path | None:
        """Return the path of a file, or None if it is not on this machine.

        Args:
            name: Key in the table.
            path: A path that the user chose, which is returned without verification.

        Raises:
            UserError: The table has no such name, or `path` is not a file.
            CheckpointError: The SHA-256 of the file that was found differs from that of the table.
        """
        if name not in self.entries:
            raise UserError(f"there is no pretrained file called {name!r}; there are {', '.join(sorted(self.entries))}")
        entry = self.entries[name]
        if path is not None:
            if not Path(path).is_file():
                raise UserError(f"there is no file {path}, which was given for {entry.description}")
            return Path(path)
        candidate = next((place for place in _places(entry) if place.is_file()), None)
        if candidate is not None and entry.sha256 is not None:
            check_sha256(candidate, entry.sha256)
        return candidate

    def locate(self, name: str, path: str | Path | None = None) -> Path:
        """Return the path of a file as `find` does.

        Raises:
            UserError: The file is not on this machine; the message says how to get it and what to do without it.
        """
        located = self.find(name, path)
        if located is not None:
            return located
        entry = self.entries[name]
        command = f"run `psp download {name}`, " if entry.download else ""
        raise UserError(
            f"{entry.file} ({entry.description}) is not on this machine: {command}{entry.source}, put it into "
            f"{weights_folder()} or another folder that {FOLDER_VARIABLE} names, or {entry.fallback}"
        )


def _shipped(package: str) -> Iterator[PretrainedFile]:
    """Yield entries for the models in the folder of a package, named after their files."""
    folder = _pretrained_folder(package)
    for path in sorted(folder.glob("*.safetensors")) if folder else ():
        yield PretrainedFile(
            path.stem,
            path.name,
            "a model that comes with this package",
            f"shipped:{package}",
            None,  # the file holds its own digest, which stylegan2.runtime.checkpoint.read verifies
            "in the metadata of the file",
            "install this package again",
            "train your own model",
            kind=_kind(path),
        )


def _kind(path: Path) -> str:
    """Return the kind of one of our files by its header. An unreadable file raises only when it is used."""
    try:
        with safe_open(path, framework="pt") as file:
            kind = str(json.loads((file.metadata() or {})["metadata"])["kind"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        return "network"
    return KINDS.get(kind, kind)


def _pretrained_folder(package: str) -> Path | None:
    """Return the folder of a package's models; find_spec of a top-level package does not import it."""
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / "pretrained" if places else None


def weights_folder() -> Path:
    """Return the folder of downloads: $PSP_WEIGHTS, by default `weights` in the folder of caches."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen).expanduser() if chosen else cache_folder() / "weights"


def check_sha256(path: str | Path, sha256: str) -> None:
    """Raise a CheckpointError unless the SHA-256 of the file begins with the hexadecimal digits `sha256`."""
    path = Path(path)
    digest = digest_of(path)
    if not digest.startswith(sha256.lower()):
        raise CheckpointError(
            f"{path} is damaged or a different file (its SHA-256 begins with {digest[: len(sha256)][:16]}, "
            f"not {sha256[:16]}): delete it and get it again"
        )


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, which is computed again only after the file has changed."""
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


def fill(module: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Copy tensors that were read from `path` into a module.

    Raises:
        CheckpointError: Tensors are missing, unexpected or of another shape.
    """
    name = Path(path).name
    load_module(module, {f"{name}.{key}": value for key, value in tensors.items()}, name)


def freeze(network: Network, channels_last: bool = False) -> Network:
    """Put a network into evaluation mode, without gradients for its weights, and return it.

    Args:
        network: The network, which is changed in place.
        channels_last: Store the weights of convolutions with the channels last, which is faster on a CPU.
    """
    network.requires_grad_(False).eval()
    if channels_last:
        network.to(memory_format=torch.channels_last)
    return network


def _places(entry: PretrainedFile) -> Iterator[Path]:
    """Yield every path at which the file may be, in order of preference."""
    yield weights_folder() / entry.file
    kind, _, where = entry.location.partition(":")
    if kind == "package":
        yield from _in_distribution(where, entry.file)
    elif kind in ("torchvision", "facenet"):
        hub = Path(torch.hub.get_dir())
        yield hub / "checkpoints" / entry.file
        yield hub.parent / "checkpoints" / entry.file  # facenet-pytorch does not use the folder `hub`
    elif kind == "shipped" and (folder := _pretrained_folder(where)):
        yield folder / entry.file


def _in_distribution(distribution: str, file: str) -> Iterator[Path]:
    """Yield the files of that name in an installed distribution, which need not be importable."""
    try:
        files = metadata.files(distribution) or ()
    except metadata.PackageNotFoundError:
        return
    yield from (Path(str(entry.locate())) for entry in files if entry.name == file)


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, modified_ns: int) -> str:
    """Return the SHA-256 in hexadecimal; size and modification time are part of the key of the cache."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
