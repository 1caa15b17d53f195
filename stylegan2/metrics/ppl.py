"""Compute the perceptual path length (StyleGAN, arXiv 1812.04948, section 4.1; StyleGAN2, section 3)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from stylegan2.latents.mixing import lerp, slerp
from stylegan2.latents.sampling import device_of
from stylegan2.metrics.samples import batches, classes, latents, mapped, prepare
from stylegan2.networks.layers import normalize_2nd_moment
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError

PROTOCOL = (
    "StyleGAN, section 4.1: LPIPS (VGG-16) between images a step of 1e-4 apart, divided by the step squared;"
    " 100,000 paths, no truncation, the mean without the lowest and highest 1 %"
)
PAPER_SAMPLES = 100_000
EPSILON = 1e-4
PERCENTILES = (1.0, 99.0)
SPACES, SAMPLINGS = ("z", "w"), ("full", "end")
VARIANTS = tuple(f"ppl_{space}_{sampling}" for space in SPACES for sampling in SAMPLINGS)
Distance = Callable[[Tensor, Tensor], Tensor]  # two [N, 3, H, W] in [-1, 1] -> [N]


@torch.no_grad()
def path_lengths(
    generator: Generator,
    distance: Distance,
    count: int,
    space: str = "w",
    sampling: str = "full",
    crop: bool = False,
    batch_size: int = 16,
    seed: int = 0,
    truncation_psi: float = 1.0,
    epsilon: float = EPSILON,
) -> Tensor:
    """Compute d(G(t), G(t + epsilon)) / epsilon^2 on random paths.

    The noise is constant, so the two images of a pair share it.

    Args:
        generator: In evaluation mode.
        distance: Compares two batches.
        count: Number of paths.
        space: "z", where a path is a great circle of the sphere (slerp), or "w", where it is a straight line (lerp).
        sampling: "full" draws t from [0, 1]; "end" takes t = 0 only, because points between two samples need not be
            likely themselves.
        crop: Compare only the face of an FFHQ-aligned image, as StyleGAN does. StyleGAN2 reports w, end, uncropped.
        batch_size: Paths at a time.
        seed: Seed of the paths.
        truncation_psi: 1 for no truncation, as in the papers.
        epsilon: The step along the path.

    Returns:
        [count] float64 on the CPU.

    Raises:
        UserError: There is no such space or sampling.
    """
    if space not in SPACES or sampling not in SAMPLINGS:
        raise UserError(f"there is no path length {space}_{sampling}: choose one of {', '.join(VARIANTS)}")
    device = device_of(generator)
    ends = [latents(generator, count, seed, stream) for stream in (0, 1)]  # two of [count, z_dim]
    t = torch.rand(count, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)  # [count, 1]
    t = t if sampling == "full" else torch.zeros_like(t)
    labels = classes(generator, count, seed)  # the same at both ends
    lengths = []
    for part in batches(count, batch_size, f"ppl_{space}_{sampling}"):
        a, b = (normalize_2nd_moment(z[part]).to(device) for z in ends)  # [N, z_dim] each, on Z's sphere
        steps = [position[part].to(device, a.dtype) for position in (t, t + epsilon)]  # two of [N, 1]
        both_labels = None if labels is None else labels[part].repeat(2)  # [2N]
        if space == "z":
            ws = mapped(generator, torch.cat([slerp(a, b, s) for s in steps]), truncation_psi, both_labels)
        else:
            wa, wb = mapped(generator, torch.cat([a, b]), truncation_psi, both_labels).chunk(2)  # [N, num_ws, w_dim]
            ws = torch.cat([lerp(wa, wb, s[:, :, None]) for s in steps])
        images = generator.synthesis(ws, noise_mode="const")  # [2N, C, R, R]
        images = prepare(face(images) if crop else images)  # [2N, 3, H, W]
        lengths.append(distance(*images.chunk(2)).double().cpu() / epsilon**2)  # [N]
    return torch.cat(lengths)


def mean_without_outliers(lengths: Tensor, percentiles: tuple[float, float] = PERCENTILES) -> float:
    """Average the lengths [N] between two percentiles, both included.

    The bounds are samples: the nearest at or below the lower percentile, and the nearest at or above the upper one.
    """
    lengths = lengths.double().sort().values
    last = len(lengths) - 1
    low = math.floor(last * percentiles[0] / 100)
    high = math.ceil(last * percentiles[1] / 100)
    return float(lengths[low : high + 1].mean())


def face(images: Tensor) -> Tensor:
    """Cut out rows 3/8 to 7/8 and columns 1/4 to 3/4: [N, C, R, R] -> [N, C, R/2, R/2]."""
    eighth = images.shape[2] // 8
    return images[:, :, 3 * eighth : 7 * eighth, 2 * eighth : 6 * eighth]
