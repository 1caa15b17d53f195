"""The settings of scripts/generate.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Interval

from options.machine import Machine
from options.results import Results
from options.seeds import parse_numbers, parse_seeds
from stylegan2.runtime.choices import FASTEST
from stylegan2.runtime.ranges import Count, NotNegative, Seed

SEEDS = {"samples": "0-63", "truncation": "0-7", "mixing": "0-5", "noise": "0-3", "interpolation": "0-5"}


@dataclass(frozen=True)
class Generate(Machine, Results):
    """Pictures of what a generator has learned.

    samples: one picture a seed, and all on a sheet. truncation: each seed from the mean of W outwards and beyond.
    mixing: the seeds with coarse, medium and fine styles of others. noise: what the noise inputs vary. interpolation:
    a moving picture from seed to seed.
    """

    kind: tyro.conf.Positional[Literal["samples", "truncation", "mixing", "noise", "interpolation"]] = "samples"
    """which pictures"""
    generator: Annotated[str, tyro.conf.arg(aliases=["--stylegan_weights"])] = "synthfaces64"
    """a shipped name, an experiment folder or a generator's file"""
    exp_dir: Path | None = None
    """gets the pictures; by default runs/generated-GENERATOR"""
    seeds: str = ""
    """numbers and ranges such as 0-63 or 1,5,9-12; a seed is the same image in every run. By default a few"""
    truncation_psi: float = 0.7
    """1 leaves the samples as they are; a smaller number truncates more"""
    truncation_cutoff: NotNegative | None = None
    """truncate only so many rows of w+, from the coarsest on; by default all"""
    label: NotNegative | None = None
    """class of the images, of generators that have classes; by default the seed's remainder"""
    psis: str = "1,0.7,0.5,0,-0.5,-1"
    """truncation: the values of psi, one a column"""
    styles: str = "100-105"
    """mixing: seeds of the styles, one a column"""
    rows: str = ""
    """mixing: rows of w+ that take these styles: coarse, medium, fine, or numbers such as 8-17; by default a picture
    for each of the three names"""
    noise_draws: Annotated[int, Ge(2)] = 100
    """noise: draws for the mean and the deviation of each pixel"""
    noise_seed: Seed = 0
    """noise: seed of the draws"""
    space: Literal["w", "z"] = "w"
    """interpolation: straight lines in W, or great circles in Z"""
    steps: Count = 24
    """interpolation: frames from one seed to the next"""
    fps: Annotated[float, Interval(gt=0, le=FASTEST)] = 20.0
    """interpolation: frames a second"""
    format: Literal["gif", "webp"] = "gif"
    """interpolation: of the moving picture; webp has all colours and is smaller"""

    def __post_init__(self) -> None:
        for parsed in (self.row_seeds, self.column_seeds, self.psi_values):
            parsed()  # a list that cannot be read is a mistake to say now

    def row_seeds(self) -> list[int]:
        """Return the seeds."""
        return parse_seeds(self.seeds or SEEDS[self.kind])

    def column_seeds(self) -> list[int]:
        """Return the seeds of the styles."""
        return parse_seeds(self.styles, "--styles")

    def psi_values(self) -> list[float]:
        """Return the values of psi."""
        return parse_numbers(self.psis, "--psis")

    def masks(self) -> list[str]:
        """Return which rows of w+ take the styles, a picture for each."""
        return [self.rows] if self.rows else ["coarse", "medium", "fine"]
