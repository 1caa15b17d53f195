"""The settings of scripts/download.py."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class DownloadModels:
    """Download models by name, into the folder that PSP_WEIGHTS names or the folder of caches.

    Shows source, size and licence first, and asks. The same command again goes on where an interrupted download
    stopped. Where the SHA-256 of a file is known, it is checked; where not, it is recorded in SHA256SUMS.
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """of `psp models`"""
    yes: bool = False
    """do not ask"""
    folder: Path | None = None
    """where to put the files, in place of PSP_WEIGHTS"""

    def __post_init__(self) -> None:
        if not all(self.names) or not self.names:
            raise UserError("name what to download: `psp models` lists what there is")
