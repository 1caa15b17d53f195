"""The settings of scripts/edit.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from options.machine import Machine
from options.results import Results
from options.seeds import parse_numbers, parse_seeds
from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class Edit(Machine, Results):
    """Move samples, or the codes of photos, along directions: a strip of pictures for each direction."""

    directions: Path
    """a file of scripts/directions.py, or the name of directions that come with the package: portraits64_directions"""
    generator: Annotated[str | None, tyro.conf.arg(aliases=["--stylegan_weights", "--checkpoint_path"])] = None
    """a generator's name, folder or file, or a pSp model whose generator is taken; by default the shipped one that the
    directions were found for"""
    exp_dir: Path | None = None
    """gets DIRECTION.png, and each picture in DIRECTION/; by default runs/edited-SUBJECT, the file of codes or else of
    directions"""
    seeds: str = "0-7"
    """samples to edit: numbers and ranges such as 0-63 or 1,5,9-12"""
    truncation_psi: float = 0.7
    """of the samples"""
    latents: Path | None = None
    """codes to edit instead: a latents.npz of inference or of scripts/project.py"""
    photos: str = "all"
    """with --latents: names in that file, separated by commas, or all"""
    names: str = "all"
    """the directions to move along, separated by commas, or all"""
    strengths: str = "-3,-2,-1,0,1,2,3"
    """in standard deviations of W along the direction; 0 is the picture itself"""
    rows: str = ""
    """rows of w+ to move instead of the file's: coarse, medium, fine, or numbers such as 0-5"""

    def __post_init__(self) -> None:
        self.samples()
        self.steps()
        if self.latents is None and self.photos != "all":
            raise UserError("--photos are names in a file of codes: give --latents too")

    def samples(self) -> list[int]:
        """Return the seeds."""
        return parse_seeds(self.seeds)

    def steps(self) -> list[float]:
        """Return the strengths."""
        return parse_numbers(self.strengths, "--strengths")

    def titles(self) -> list[str]:
        """Return how the strengths are written."""
        return [f"{step:+g}" for step in self.steps()]
