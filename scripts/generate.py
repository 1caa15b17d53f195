"""Pictures of a generator: python scripts/generate.py samples (or truncation, mixing, noise, interpolation)"""

import _start  # noqa: F401

# isort: split

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from torch import Tensor

import stylegan2
from options.machine import Machine
from options.parse import run
from options.results import Results, label, record_for, with_folder
from options.seeds import parse_numbers, parse_seeds
from stylegan2.latents import pictures
from stylegan2.latents.mixing import BANDS, mask_rows
from stylegan2.latents.sampling import render, seeded_w
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.animation import FASTEST, write_animation
from stylegan2.runtime.device import place
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import grid, to_uint8, write_image

COLUMNS = 8
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
    truncation_cutoff: int | None = None
    """truncate only so many rows of w+, from the coarsest on; by default all"""
    label: int | None = None
    """class of the images, of generators that have classes; by default the seed's remainder"""
    psis: str = "1,0.7,0.5,0,-0.5,-1"
    """truncation: the values of psi, one a column"""
    styles: str = "100-105"
    """mixing: seeds of the styles, one a column"""
    rows: str = ""
    """mixing: rows of w+ that take these styles: coarse, medium, fine, or numbers such as 8-17; by default a picture
    for each of the three names"""
    noise_draws: int = 100
    """noise: draws for the mean and the deviation of each pixel"""
    noise_seed: int = 0
    """noise: seed of the draws"""
    space: Literal["w", "z"] = "w"
    """interpolation: straight lines in W, or great circles in Z"""
    steps: int = 24
    """interpolation: frames from one seed to the next"""
    fps: float = 20.0
    """interpolation: frames a second"""
    format: Literal["gif", "webp"] = "gif"
    """interpolation: of the moving picture; webp has all colours and is smaller"""

    def __post_init__(self) -> None:
        if self.noise_draws < 2 or self.steps < 1:
            raise UserError("--noise_draws is a number from 2 on, and --steps one from 1 on")
        if not 0 < self.fps <= FASTEST:
            raise UserError(f"--fps is above 0 and at most {FASTEST}, not {self.fps}")
        if self.truncation_cutoff is not None and self.truncation_cutoff < 0:
            raise UserError(f"--truncation_cutoff must not be negative, but is {self.truncation_cutoff}")
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
        return [self.rows] if self.rows else list(BANDS)


def codes_of(generator: Generator, seeds: list[int], o: Generate) -> Tensor:
    """Return the codes of seeds, [N, num_ws, w_dim]."""
    return seeded_w(generator, seeds, o.truncation_psi, o.truncation_cutoff, o.label)


def samples(generator: Generator, o: Generate) -> None:
    codes = codes_of(generator, o.row_seeds(), o)
    images = render(generator, codes, progress="samples")  # [N, C, R, R]
    for seed, picture in zip(o.row_seeds(), to_uint8(images), strict=True):
        write_image(o.exp_dir / "samples" / f"seed{seed:04d}.png", picture)
    write_image(o.exp_dir / "samples.png", grid(images, columns=min(COLUMNS, len(images))))


def truncation(generator: Generator, o: Generate) -> None:
    sheet = pictures.truncation_sheet(generator, o.row_seeds(), o.psi_values(), o.truncation_cutoff, o.label)
    write_image(o.exp_dir / "truncation.png", sheet)


def mixing(generator: Generator, o: Generate) -> None:
    rows = {mask: mask_rows(mask, generator.num_ws) for mask in o.masks()}  # says first if a mask does not fit
    codes, styles = (codes_of(generator, seeds, o) for seeds in (o.row_seeds(), o.column_seeds()))
    for mask, numbers in rows.items():
        sheet = pictures.mixing_sheet(generator, codes, styles, numbers)
        write_image(o.exp_dir / f"mixing_{mask.replace(',', '_')}.png", sheet)


def noise(generator: Generator, o: Generate) -> None:
    codes = codes_of(generator, o.row_seeds(), o)
    sheet, white = pictures.noise_sheet(generator, codes, o.noise_draws, o.noise_seed)
    write_image(o.exp_dir / "noise.png", sheet)
    print(f"a deviation of {white * 127.5:.2f} of 255 levels is white")


def interpolation(generator: Generator, o: Generate) -> None:
    truncated = (o.truncation_psi, o.truncation_cutoff, o.label)
    codes = pictures.codes_between(generator, o.row_seeds(), o.steps, o.space, *truncated)  # [F, num_ws, w_dim]
    frames = to_uint8(render(generator, codes, progress="frames"))  # [F, R, R, C]
    write_animation(o.exp_dir / f"interpolation_{o.space}.{o.format}", list(frames), o.fps)


KINDS = {kind.__name__: kind for kind in (samples, truncation, mixing, noise, interpolation)}


def main(o: Generate) -> None:
    device = o.prepare()
    o = with_folder(o, f"generated-{label(o.generator)}")
    record = record_for(o, "generate", writes=(f"{o.kind}*",), part=o.kind, free=("rows", "space", "format"))
    generator, _ = stylegan2.load(o.generator)
    place(generator, device)
    record.write()
    KINDS[o.kind](generator, o)
    print(f"written to {o.exp_dir}")


if __name__ == "__main__":
    run(main, Generate)
