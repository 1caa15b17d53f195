"""Pretrained files: what each is, under which licence, and where it is looked for. Each floor has its own table.

Nothing here opens a network connection: `stylegan2.runtime.download` does, when it is asked to. A file is looked for
in the place of its kind and, before that, by its name in the folder of weights: the one that the environment variable
PSP_WEIGHTS names, by default `weights` in the folder of caches:

    package:NAME    inside an installed distribution, found without importing it
    torchvision:    the checkpoints folder of torch.hub, where torchvision puts what it downloads
    facenet:        the checkpoints folder of torch, where facenet-pytorch puts what it downloads
    user:           nowhere of its own: a path that the user gives, or the folder of weights
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

from stylegan2.runtime.bounded import reading
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.files import cache_folder
from stylegan2.runtime.tensors import load_module
from stylegan2.runtime.torch_outline import check_torch

FOLDER_VARIABLE = "PSP_WEIGHTS"
KINDS = {"psp": "pSp model", "stylegan2": "generator", "segmenter": "network"}  # as our files name them: as people do
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Download:
    """Where a file can be downloaded."""

    url: str
    page: str
    """The page of those who published it, for people."""
    megabytes: int | None = None
    """About how large it is; None where that is not known."""


@dataclass(frozen=True)
class PretrainedFile:
    """One pretrained file; every text is a phrase that fits into the sentence of `locate`."""

    name: str
    """The key of the table."""
    file: str
    """The file's name, without a folder."""
    what: str
    """What the file holds."""
    found: str
    """Where it is looked for: one of the kinds above."""
    sha256: str | None
    """Its SHA-256 in hexadecimal; only the leading digits where no more is known (torchvision writes 8 into the file's
    name); None where nothing is known, and then it is not verified."""
    licence: str
    source: str
    """How to get it."""
    instead: str
    """What works without it."""
    kind: str = "network"
    """What it is loaded as: "generator", "pSp model", "directions", or "network", which losses and metrics use."""
    domain: str = ""
    """What its images show, such as faces."""
    resolution: int | None = None
    """Pixels of the side of the images that it makes."""
    task: str = ""
    """What a pSp model makes of an image."""
    download: Download | None = None


class PretrainedFiles:
    """The pretrained files that one package uses: those of a table, and the models that come with the package.

    Args:
        package: Name of the package whose folder `pretrained` holds its own models.
        table: The other files.
    """

    def __init__(self, package: str, table: Sequence[PretrainedFile] = ()) -> None:
        self.package = package
        self.entries = {entry.name: entry for entry in (*table, *_shipped(package))}

    @property
    def shipped(self) -> list[str]:
        """The names of the files that come with the package."""
        return sorted(name for name, entry in self.entries.items() if entry.found == f"shipped:{self.package}")

    def shipped_as(self, kind: str) -> list[str]:
        """Return the names of those that come with the package and are of one kind."""
        return [name for name in self.shipped if self.entries[name].kind == kind]

    def locate_model(self, name: str, kind: str) -> Path:
        """Return the file of a model that comes with the package or was downloaded.

        Args:
            name: Key of the table.
            kind: What it is, such as "generator".

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
        """Return the path of a file, or None where it is not on this machine.

        Args:
            name: Key of the table.
            path: The user's own choice, which is taken as it is.

        Raises:
            UserError: The table has no such name, or `path` is no file.
            CheckpointError: A file was found by its name, and its SHA-256 is not that of the table.
        """
        if name not in self.entries:
            raise UserError(f"there is no pretrained file called {name!r}; there are {', '.join(sorted(self.entries))}")
        entry = self.entries[name]
        if path is not None:
            if not Path(path).is_file():
                raise UserError(f"there is no file {path}, which was given for {entry.what}")
            return Path(path)
        candidate = next((place for place in _places(entry) if place.is_file()), None)
        if candidate is not None and entry.sha256 is not None:
            verify(candidate, entry.sha256)
        return candidate

    def locate(self, name: str, path: str | Path | None = None) -> Path:
        """Return the path of a file as `find` does. UserError: it is missing; how to get it and what works instead."""
        found = self.find(name, path)
        if found is not None:
            return found
        entry = self.entries[name]
        command = f"`psp download {name}` gets it, or " if entry.download else ""
        raise UserError(
            f"{entry.file} ({entry.what}) is not on this machine: {command}{entry.source}, "
            f"or put it into {weights_folder()} or another folder that {FOLDER_VARIABLE} names, or {entry.instead}"
        )


def _shipped(package: str) -> Iterator[PretrainedFile]:
    """The models in the folder of a package, under the names of their files."""
    folder = _pretrained_folder(package)
    for path in sorted(folder.glob("*.safetensors")) if folder else ():
        yield PretrainedFile(
            path.stem,
            path.name,
            "a model that comes with this package",
            f"shipped:{package}",
            None,  # the file holds a digest of its own, which stylegan2.runtime.checkpoint.read verifies
            "in the metadata of the file",
            "install this package again",
            "train a model of your own",
            kind=_kind(path),
        )


def _kind(path: Path) -> str:
    """Say what one of our files is, by its header alone. What cannot be read is not complained of before it is used."""
    try:
        with safe_open(path, framework="pt") as file:
            kind = str(json.loads((file.metadata() or {})["metadata"])["kind"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        return "network"
    return KINDS.get(kind, kind)


def _pretrained_folder(package: str) -> Path | None:
    """The folder of a package's models. find_spec of a top-level package does not import it."""
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / "pretrained" if places else None


def weights_folder() -> Path:
    """Return where downloads are put and looked for: $PSP_WEIGHTS, by default `weights` in the folder of caches."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen).expanduser() if chosen else cache_folder() / "weights"


def verify(path: str | Path, sha256: str) -> None:
    """Raise CheckpointError unless the SHA-256 of the file begins with the hexadecimal digits `sha256`."""
    path = Path(path)
    digest = digest_of(path)
    if not digest.startswith(sha256.lower()):
        raise CheckpointError(
            f"{path} is damaged or another file (its SHA-256 begins with {digest[: len(sha256)][:16]}, "
            f"not {sha256[:16]}): delete it and get it again"
        )


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; it is computed once, as long as the file stays as it is."""
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a PyTorch file with a plain state dict, on the CPU; nothing in the file is executed."""
    with reading(path, "a plain PyTorch file", CheckpointError):
        with open(path, "rb") as file:
            check_torch(file)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(tensors, dict) or not tensors or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise CheckpointError(f"{path} holds no plain state dict (names and tensors)")
    return dict(tensors)


def fill(module: nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    """Copy tensors that were read from `path` into a module; CheckpointError names what is missing or extra."""
    name = Path(path).name
    load_module(module, {f"{name}.{key}": value for key, value in tensors.items()}, name)


def freeze(network: Network, channels_last: bool = False) -> Network:
    """Return the same network in evaluation mode, without gradients for its weights.

    Args:
        network: What is frozen.
        channels_last: Whether its convolutions store their weights with the channels last, which is faster on a CPU.
    """
    network.requires_grad_(False).eval()
    if channels_last:
        network.to(memory_format=torch.channels_last)
    return network


def _places(entry: PretrainedFile) -> Iterator[Path]:
    """Every path at which the file may be, in the order of preference."""
    yield weights_folder() / entry.file
    kind, _, where = entry.found.partition(":")
    if kind == "package":
        yield from _in_distribution(where, entry.file)
    elif kind in ("torchvision", "facenet"):
        hub = Path(torch.hub.get_dir())
        yield hub / "checkpoints" / entry.file
        yield hub.parent / "checkpoints" / entry.file  # facenet-pytorch leaves out the folder `hub`
    elif kind == "shipped" and (folder := _pretrained_folder(where)):
        yield folder / entry.file


def _in_distribution(distribution: str, file: str) -> Iterator[Path]:
    """The installed files of that name. face-recognition-models cannot be imported: it wants pkg_resources."""
    try:
        files = metadata.files(distribution) or ()
    except metadata.PackageNotFoundError:
        return
    yield from (Path(str(entry.locate())) for entry in files if entry.name == file)


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, modified_ns: int) -> str:
    """SHA-256 in hexadecimal; size and time of change are the key under which it is remembered."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
