"""Download published models and networks: python scripts/download.py NAME (names: python scripts/models.py)"""

import _start  # noqa: F401

# isort: split

import sys
from pathlib import Path

from tqdm.auto import tqdm

from options.commands.download import DownloadModels
from options.parse import run
from psp.catalogue import entry_of, find
from stylegan2.runtime.download import SUMS, check_present, download, target
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.progress import is_interactive
from stylegan2.runtime.weights import PretrainedFile


def present(entry: PretrainedFile, o: DownloadModels) -> Path | None:
    """Return the path of a file, or None if it is not on this machine, or not in the folder that the user gave."""
    if o.folder is None:
        return find(entry)
    path = target(entry, o.folder)
    return path if path.is_file() else None


def print_source(entry: PretrainedFile, path: Path) -> None:
    """Print what the user needs to know before a download.

    Raises:
        UserError: The file cannot be downloaded.
    """
    source = entry.download
    if source is None:
        raise UserError(f"{entry.name} cannot be downloaded here: {entry.source}")
    size = f"about {source.megabytes} MB" if source.megabytes else "of unknown size"
    print(f"{entry.name}: {entry.description}, {size}")
    print(f"  from      {source.url}")
    print(f"  page      {source.page}")
    print(f"  licence   {entry.licence}")
    print(f"  to        {path}", flush=True)


def confirmed() -> bool:
    """Ask the user for confirmation.

    Raises:
        UserError: The input is closed, so that nobody can answer.
    """
    try:
        return input("Download it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        raise UserError("there is no terminal to ask for confirmation: give --yes to download") from None


def fetch(entry: PretrainedFile, o: DownloadModels) -> None:
    """Download a file with a progress bar, and print whether its SHA-256 is known."""
    with tqdm(desc=entry.file, unit="B", unit_scale=True, dynamic_ncols=True, disable=not is_interactive()) as bar:

        def show(done: int, size: int | None) -> None:
            bar.total = size
            bar.update(done - bar.n)

        path, digest = download(entry, o.folder, show)
    if entry.sha256 is None:
        print(f"{path}: its SHA-256 is not known; {digest} is recorded in {SUMS} and will be expected next time")
    else:
        print(f"{path}: its SHA-256 is correct ({entry.sha256})")


def main(o: DownloadModels) -> int:
    entries = [entry_of(name) for name in o.names]
    for entry in entries:
        path = present(entry, o)
        if path is not None:
            print(f"{entry.name} is here and intact: {path} (SHA-256 {check_present(entry, path)})")
            continue
        print_source(entry, target(entry, o.folder))
        if not (o.yes or confirmed()):
            print("nothing was downloaded", file=sys.stderr)
            return 1
        fetch(entry, o)
    return 0


if __name__ == "__main__":
    run(main, DownloadModels)
