"""The settings of scripts/download.py."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class DownloadModels:
    """Download models by name, to the folder that PSP_WEIGHTS names or to the cache folder.

    The command first shows source, size and licence, and asks for confirmation. Run it again to continue an interrupted
    download. The SHA-256 of a file is checked if it is known, and otherwise recorded in SHA256SUMS.
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """names as in `psp models`"""
    yes: bool = False
    """do not ask for confirmation"""
    folder: Path | None = None
    """folder for the files, instead of PSP_WEIGHTS"""

    def __post_init__(self) -> None:
        if not all(self.names) or not self.names:
            raise UserError("give the name of a model to download: `psp models` lists them")
