"""List the pretrained files of both packages by name, with what each is and whether it is on this machine."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psp.pretrained_files import PRETRAINED
from stylegan2.loading import PRETRAINED as GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.weights import PretrainedFile, PretrainedFiles

SHIPPED, INSTALLED, HERE, DAMAGED = "shipped", "installed", "here", "damaged"
TO_DOWNLOAD, MISSING = "to download", "to get by hand"
ORDER = ("pSp model", "generator", "directions")  # order of the kinds; the networks of losses and metrics follow
DOMAIN = "faces"  # domain of the models that come with the packages


@dataclass(frozen=True)
class Listed:
    """One line of the catalogue."""

    entry: PretrainedFile
    domain: str
    resolution: int | None
    task: str
    licence: str
    megabytes: float | None
    where: str
    """shipped, installed, here, damaged, to download, or to get by hand"""
    path: Path | None


def catalogue() -> list[Listed]:
    """List the pretrained files: pSp models, generators, and the networks that losses and metrics use."""
    lines = [_listed(table, entry) for table in (PRETRAINED, GENERATORS) for entry in table.entries.values()]
    return sorted(lines, key=lambda line: ORDER.index(line.entry.kind) if line.entry.kind in ORDER else len(ORDER))


def entry_of(name: str) -> PretrainedFile:
    """Return the entry of a name. UserError: there is none; the message suggests the nearest name."""
    known = GENERATORS.entries | PRETRAINED.entries
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(name, known, n=1)
    raise UserError(
        f"there is no model called {name!r}: " + (f"did you mean {nearest[0]}?" if nearest else "see `psp models`")
    )


def find(entry: PretrainedFile) -> Path | None:
    """Return the path of a file, or None where it is not on this machine. CheckpointError: it is another file."""
    table = PRETRAINED if PRETRAINED.entries.get(entry.name) is entry else GENERATORS
    return table.find(entry.name)


def _listed(table: PretrainedFiles, entry: PretrainedFile) -> Listed:
    try:
        path = table.find(entry.name)
        where = _place(table, entry, path)
    except CheckpointError:
        path, where = None, DAMAGED
    size = path.stat().st_size / 1e6 if path else entry.download.megabytes if entry.download else None
    if where == SHIPPED and path is not None:
        return _of_file(entry, path, size)
    return Listed(entry, entry.domain, entry.resolution, entry.task, entry.licence, size, where, path)


def _place(table: PretrainedFiles, entry: PretrainedFile, path: Path | None) -> str:
    if path is None:
        return TO_DOWNLOAD if entry.download else MISSING
    if entry.name in table.shipped:
        return SHIPPED
    return INSTALLED if entry.location.startswith("package:") else HERE


def _of_file(entry: PretrainedFile, path: Path, megabytes: float | None) -> Listed:
    """Describe a model that comes with a package by the metadata of its file."""
    _, metadata = checkpoint.read(path)
    size = next(_resolutions(metadata), None)
    task, licence = metadata.get("task", ""), metadata.get("licence", "")
    return Listed(entry, DOMAIN, size, task, licence, megabytes, SHIPPED, path)


def _resolutions(metadata: dict) -> Iterator[int]:
    for part, setting in (("generator", "img_resolution"), ("segmenter", "resolution")):
        if isinstance(metadata.get(part), dict):
            yield metadata[part][setting]
