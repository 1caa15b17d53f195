"""The settings of scripts/generate.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Interval

from options.lists import parse_numbers, parse_seeds
from options.results import Results
from options.shared import Machine
from stylegan2.runtime.ranges import FASTEST, Count, NotNegative, Seed

SEEDS = {"samples": "0-63", "truncation": "0-7", "mixing": "0-5", "noise": "0-3", "interpolation": "0-5"}


@dataclass(frozen=True)
class Generate(Machine, Results):
    """Make pictures of a generator.

    samples: one picture per seed, and a sheet of all. truncation: each seed with several values of psi. mixing: the
    seeds with coarse, medium and fine styles of other seeds. noise: the effect of the noise inputs. interpolation: an
    animation from seed to seed.
    """

    kind: tyro.conf.Positional[Literal["samples", "truncation", "mixing", "noise", "interpolation"]] = "samples"
    """kind of pictures"""
    generator: Annotated[str, tyro.conf.arg(aliases=["--stylegan_weights"])] = "synthfaces64"
    """a shipped name, an experiment folder or a generator's file"""
    exp_dir: Path | None = None
    """folder for the pictures; by default runs/generated-GENERATOR"""
    seeds: str = ""
    """numbers and ranges such as 0-63 or 1,5,9-12; a seed always gives the same image. By default a few seeds"""
    truncation_psi: float = 0.7
    """truncation of the samples: 1 leaves them unchanged; a smaller number truncates more"""
    truncation_cutoff: NotNegative | None = None
    """number of rows of w+, from the coarsest on, that are truncated; by default all"""
    label: NotNegative | None = None
    """class of the images, for generators with classes; by default the seed modulo the number of classes"""
    psis: str = "1,0.7,0.5,0,-0.5,-1"
    """truncation: values of psi, one per column"""
    styles: str = "100-105"
    """mixing: seeds of the styles, one per column"""
    rows: str = ""
    """mixing: rows of w+ that get these styles: coarse, medium, fine, or numbers such as 8-17; by default a picture
    for each of the three names"""
    noise_draws: Annotated[int, Ge(2)] = 100
    """noise: number of draws for the mean and the standard deviation of each pixel"""
    noise_seed: Seed = 0
    """noise: seed of the draws"""
    space: Literal["w", "z"] = "w"
    """interpolation: along straight lines in W, or along great circles in Z"""
    steps: Count = 24
    """interpolation: number of frames from one seed to the next"""
    fps: Annotated[float, Interval(gt=0, le=FASTEST)] = 20.0
    """interpolation: frames per second"""
    format: Literal["gif", "webp"] = "gif"
    """interpolation: format of the animation; webp has all colours and is smaller"""

    def __post_init__(self) -> None:
        for parsed in (self.row_seeds, self.column_seeds, self.psi_values):
            parsed()  # reports invalid lists before any work is done

    def row_seeds(self) -> list[int]:
        """Return the seeds of the rows."""
        return parse_seeds(self.seeds or SEEDS[self.kind])

    def column_seeds(self) -> list[int]:
        """Return the seeds of the styles, one per column."""
        return parse_seeds(self.styles, "--styles")

    def psi_values(self) -> list[float]:
        """Return the values of psi, one per column."""
        return parse_numbers(self.psis, "--psis")

    def masks(self) -> list[str]:
        """Return the rows of w+ that get the styles, one entry per picture."""
        return [self.rows] if self.rows else ["coarse", "medium", "fine"]
