"""The field's pictures of a generator: truncation sweep, style mixing, noise variation, paths between seeds."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stylegan2.latents import interpolation
from stylegan2.latents.mixing import mix
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
    """Draw a row a seed and a column a psi (StyleGAN, figure 8).

    psi 1 is the sample, 0 the mean of W, and below 0 the sample's opposite. `names` are captions of the rows.
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
    """Draw a row a code and a column a style (StyleGAN, figure 3): what a picture gets from the one above it.

    Args:
        generator: Renders the codes.
        codes: [N, num_ws, w_dim], at the left.
        styles: [K, num_ws, w_dim], on top; their first row is the style.
        rows: Of w_plus that are the style's.
        code_names: [N], captions at the left.
        style_names: [K], titles on top.
    """
    left, top = to_uint8(render(generator, codes)), to_uint8(render(generator, styles))
    mixed = render(generator, mix(codes, styles[:, 0], rows), progress="mixing")  # [N, K, C, R, R]
    sheet = [[own, *to_uint8(row)] for own, row in zip(left, mixed, strict=True)]
    titles, captions = ["", *style_names] if style_names else [], ["", *code_names] if code_names else []
    return labelled_sheet([[np.full_like(top[0], 255), *top], *sheet], titles, captions)


def noise_sheet(
    generator: Generator, codes: Tensor, draws: int, seed: int, names: Sequence[str] = ()
) -> tuple[np.ndarray, float]:
    """Draw two draws of the noise, the mean of all, and the deviation of each pixel (StyleGAN, figure 4).

    Args:
        generator: Renders the codes.
        codes: [N, num_ws, w_dim], a row each.
        draws: How many.
        seed: Of the noise.
        names: [N], captions of the rows.

    Returns:
        The picture, and the standard deviation on the [-1, 1] scale that is shown white.
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
        space: "w" for straight lines there, or "z" for great circles there, within one class (0 by default).
        truncation_psi: 1 for none.
        truncation_cutoff: Rows to truncate; by default all.
        label: Class, of generators that have classes.
    """
    if space == "z":
        z = interpolation.path(seeded_z(generator, seeds), steps, interpolation.slerp)  # [F, z_dim]
        labels = class_labels(generator, [label or 0] * len(z), strict=label is not None)
        return generator.mapping(z, truncation_psi, truncation_cutoff, labels=labels)
    keys = seeded_w(generator, seeds, truncation_psi, truncation_cutoff, label)  # [K, num_ws, w_dim]
    return interpolation.path(keys.flatten(1), steps).unflatten(1, keys.shape[1:])  # [F, num_ws, w_dim]
