"""Make pictures of a generator: python scripts/generate.py samples (or truncation, mixing, noise, interpolation)"""

import _start  # noqa: F401

# isort: split

from torch import Tensor

import stylegan2
from options.commands.generate import Generate
from options.parse import run
from options.results import label, record_for, with_folder
from stylegan2.latents import pictures
from stylegan2.latents.mixing import mask_rows
from stylegan2.latents.sampling import render, seeded_w
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.device import place
from stylegan2.runtime.images import labelled_sheet, to_uint8, write_animation, write_image

COLUMNS = 8


def codes_of(generator: Generator, seeds: list[int], o: Generate) -> Tensor:
    """Return the truncated codes [N, num_ws, w_dim] of seeds."""
    return seeded_w(generator, seeds, o.truncation_psi, o.truncation_cutoff, o.label)


def seed_names(seeds: list[int]) -> str:
    """Return a caption for the seeds of a row of pictures, such as 8-15."""
    follow = seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]}-{seeds[-1]}" if follow and len(seeds) > 1 else ", ".join(map(str, seeds))


def samples(generator: Generator, o: Generate) -> None:
    """Write one picture per seed, and a sheet of all."""
    codes = codes_of(generator, o.row_seeds(), o)
    images = render(generator, codes, progress="samples")  # [N, C, R, R]
    for seed, picture in zip(o.row_seeds(), to_uint8(images), strict=True):
        write_image(o.folder / "samples" / f"seed{seed:04d}.png", picture)
    rows = [list(to_uint8(part)) for part in images.split(COLUMNS)]
    captions = [seed_names(o.row_seeds()[start : start + COLUMNS]) for start in range(0, len(images), COLUMNS)]
    write_image(o.folder / "samples.png", labelled_sheet(rows, captions=captions))


def truncation(generator: Generator, o: Generate) -> None:
    """Write a sheet with a row per seed and a column per value of psi."""
    names = [f"seed {seed}" for seed in o.row_seeds()]
    sheet = pictures.truncation_sheet(generator, o.row_seeds(), o.psi_values(), o.truncation_cutoff, o.label, names)
    write_image(o.folder / "truncation.png", sheet)


def mixing(generator: Generator, o: Generate) -> None:
    """Write a sheet of style mixing for each mask."""
    rows = {mask: mask_rows(mask, generator.num_ws) for mask in o.masks()}  # reports invalid masks at once
    codes, styles = (codes_of(generator, seeds, o) for seeds in (o.row_seeds(), o.column_seeds()))
    for mask, numbers in rows.items():
        names = [[f"seed {seed}" for seed in seeds] for seeds in (o.row_seeds(), o.column_seeds())]
        sheet = pictures.mixing_sheet(generator, codes, styles, numbers, *names)
        write_image(o.folder / f"mixing_{mask.replace(',', '_')}.png", sheet)


def noise(generator: Generator, o: Generate) -> None:
    """Write a sheet of the effect of the noise inputs, and print its scale."""
    codes = codes_of(generator, o.row_seeds(), o)
    names = [f"seed {seed}" for seed in o.row_seeds()]
    sheet, white = pictures.noise_sheet(generator, codes, o.noise_draws, o.noise_seed, names)
    write_image(o.folder / "noise.png", sheet)
    print(f"a deviation of {white * 127.5:.2f} of 255 levels is white")


def interpolation(generator: Generator, o: Generate) -> None:
    """Write an animation from seed to seed."""
    truncated = (o.truncation_psi, o.truncation_cutoff, o.label)
    codes = pictures.codes_between(generator, o.row_seeds(), o.steps, o.space, *truncated)  # [F, num_ws, w_dim]
    frames = to_uint8(render(generator, codes, progress="frames"))  # [F, R, R, C]
    write_animation(o.folder / f"interpolation_{o.space}.{o.format}", list(frames), o.fps)


KINDS = {kind.__name__: kind for kind in (samples, truncation, mixing, noise, interpolation)}


def main(o: Generate) -> None:
    device = o.prepare()
    o = with_folder(o, f"generated-{label(o.generator)}")
    record = record_for(o, "generate", writes=(f"{o.kind}*",), part=o.kind, free=("rows", "space", "format"))
    generator, _ = stylegan2.load(o.generator)
    place(generator, device)
    record.write()
    KINDS[o.kind](generator, o)
    print(f"written to {o.folder}")


if __name__ == "__main__":
    run(main, Generate)
