"""The usual pictures of a generator: truncation sweep, style mixing, noise variation and paths between seeds."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stylegan2.latents.mixing import mix, path, slerp
from stylegan2.latents.sampling import class_labels, noise_statistics, render, seeded_w, seeded_z, vary_noise
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.images import labelled_sheet, to_uint8


def truncation_sheet(
    generator: Generator,
    seeds: Sequence[int],
    psis: Sequence[float],
    truncation_cutoff: int | None = None,
    label: int | None = None,
    names: Sequence[str] = (),
) -> np.ndarray:
    """Draw one row per seed and one column per psi (StyleGAN, figure 8).

    Args:
        generator: Renders the samples.
        seeds: One seed per row.
        psis: One value per column: 1 is the sample, 0 the mean of W, and a negative value the opposite of the sample.
        truncation_cutoff: Number of rows of w+ to truncate; by default all.
        label: The class, for a generator that has classes.
        names: Captions of the rows.

    Returns:
        uint8 [H, W, 3].
    """
    codes = [seeded_w(generator, seeds, psi, truncation_cutoff, label) for psi in psis]
    pictures = render(generator, torch.stack(codes, 1), progress="truncation")  # [N, P, C, R, R]
    return labelled_sheet([list(to_uint8(row)) for row in pictures], [f"psi {psi:g}" for psi in psis], names)


def mixing_sheet(
    generator: Generator,
    codes: Tensor,
    styles: Tensor,
    rows: Sequence[int],
    code_names: Sequence[str] = (),
    style_names: Sequence[str] = (),
) -> np.ndarray:
    """Draw one row per code and one column per style (StyleGAN, figure 3): each cell mixes the style into the code.

    Args:
        generator: Renders the codes.
        codes: [N, num_ws, w_dim], shown at the left.
        styles: [K, num_ws, w_dim], shown on top; the first row of each is mixed in.
        rows: Rows of w_plus that are taken from the style.
        code_names: [N], captions at the left.
        style_names: [K], titles on top.

    Returns:
        uint8 [H, W, 3].
    """
    left, top = to_uint8(render(generator, codes)), to_uint8(render(generator, styles))
    mixed = render(generator, mix(codes, styles[:, 0], rows), progress="mixing")  # [N, K, C, R, R]
    sheet = [[own, *to_uint8(row)] for own, row in zip(left, mixed, strict=True)]
    titles, captions = ["", *style_names] if style_names else [], ["", *code_names] if code_names else []
    return labelled_sheet([[np.full_like(top[0], 255), *top], *sheet], titles, captions)


def noise_sheet(
    generator: Generator, codes: Tensor, draws: int, seed: int, names: Sequence[str] = ()
) -> tuple[np.ndarray, float]:
    """Show two draws of the noise, the mean of all draws, and the deviation of each pixel (StyleGAN, figure 4).

    Args:
        generator: Renders the codes.
        codes: [N, num_ws, w_dim], one for each row.
        draws: Number of draws of the noise.
        seed: Seed of the noise.
        names: [N], captions of the rows.

    Returns:
        The picture, uint8 [H, W, 3], and the standard deviation on the [-1, 1] scale that is shown as white.
    """
    rows, deviations = [], []
    for code in codes:
        pictures = vary_noise(generator, code, draws, seed)  # [D, C, R, R]
        mean, deviation = noise_statistics(pictures)
        rows.append(torch.stack([*pictures[:2], mean]))  # [3, C, R, R]
        deviations.append(deviation.expand_as(mean)[None])  # [1, C, R, R]
    white = max(float(torch.cat(deviations).max()), 1e-6)
    sheet = [list(to_uint8(torch.cat([row, 2 * d / white - 1]))) for row, d in zip(rows, deviations, strict=True)]
    return labelled_sheet(sheet, ["a draw", "another", f"mean of {draws}", "deviation"], names), white


@torch.no_grad()
def codes_between(
    generator: Generator,
    seeds: Sequence[int],
    steps: int,
    space: str = "w",
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    label: int | None = None,
) -> Tensor:
    """Return a closed path of codes from seed to seed, [len(seeds) * steps, num_ws, w_dim].

    Args:
        generator: Maps the seeds.
        seeds: The keys of the path.
        steps: Codes from one seed to the next.
        space: "w" for straight lines in W, or "z" for great circles in Z, within one class (0 by default).
        truncation_psi: 1 for none.
        truncation_cutoff: Rows to truncate; by default all.
        label: The class, for a generator that has classes.
    """
    if space == "z":
        z = path(seeded_z(generator, seeds), steps, slerp)  # [F, z_dim]
        labels = class_labels(generator, [label or 0] * len(z), strict=label is not None)
        return generator.mapping(z, truncation_psi, truncation_cutoff, labels=labels)
    keys = seeded_w(generator, seeds, truncation_psi, truncation_cutoff, label)  # [K, num_ws, w_dim]
    return path(keys.flatten(1), steps).unflatten(1, keys.shape[1:])  # [F, num_ws, w_dim]
