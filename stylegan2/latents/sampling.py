"""Turn seeds into latents and latents into images, a few at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stylegan2.networks.conditioning import labels_of, number_of_labels
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.progress import Progress
from stylegan2.runtime.randomness import seeded_normal

PIXELS_AT_ONCE = 2**18  # pixels rendered together: small images share weights, large ones would only cost memory


def device_of(generator: Generator) -> torch.device:
    """Return the device of a generator's weights."""
    return next(generator.parameters()).device


def at_once(generator: Generator) -> int:
    """Return how many images are rendered together."""
    return max(1, PIXELS_AT_ONCE // generator.img_resolution**2)


def seeded_z(generator: Generator, seeds: Sequence[int]) -> Tensor:
    """Draw z ~ N(0, 1), [N, z_dim], each from its seed alone, so that a seed gives the same image in any batch."""
    z = torch.cat([seeded_normal((1, generator.z_dim), seed) for seed in seeds])  # [N, z_dim]
    return z.to(device_of(generator))


@torch.no_grad()
def seeded_w(
    generator: Generator,
    seeds: Sequence[int],
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    label: int | None = None,
) -> Tensor:
    """Return the codes of seeds, [N, num_ws, w_dim].

    Args:
        generator: The generator, whose mapping network is used.
        seeds: One seed per code.
        truncation_psi: Strength of truncation; 1 for no truncation.
        truncation_cutoff: Number of rows to truncate; by default all.
        label: The class, for a generator that has classes, or the index of a label vector that the generator keeps; by
            default the seed modulo the number of labels.

    Raises:
        UserError: There is no such class.
    """
    z = seeded_z(generator, seeds)  # [N, z_dim]
    labels = class_labels(generator, seeds if label is None else [label] * len(seeds), strict=label is not None)
    return generator.mapping(z, truncation_psi, truncation_cutoff, labels=labels)


@torch.no_grad()
def random_w(generator: Generator, count: int, seed: int, batch: int = 1000) -> Tensor:
    """Draw `count` untruncated samples of W, [count, w_dim], equally many of each label."""
    z = seeded_normal((count, generator.z_dim), seed, device_of(generator))  # [count, z_dim]
    labels = class_labels(generator, range(count))
    parts = z.split(batch), [None] * count if labels is None else labels.split(batch)
    return torch.cat([generator.mapping(part, labels=own)[:, 0] for part, own in zip(*parts, strict=False)])


def class_labels(generator: Generator, numbers: Sequence[int], strict: bool = False) -> Tensor | None:
    """Turn numbers into labels modulo the number of labels, or (`strict`) unchanged; see `conditioning.labels_of`.

    Returns:
        int64 [N] or float32 [N, num_classes]; None for a generator without classes.

    Raises:
        UserError: There is no such class.
    """
    count = number_of_labels(generator)
    if strict and not all(0 <= number < count for number in numbers):
        allowed = f"the classes of this generator are 0 to {count - 1}" if count else "this generator has no classes"
        raise UserError(f"there is no class {numbers[0]}: {allowed}")
    remainders = [number % max(1, count) for number in numbers]  # seeds may be beyond int64
    return labels_of(generator, torch.tensor(remainders, device=device_of(generator)))


@torch.inference_mode()
def render(
    generator: Generator,
    codes: Tensor,
    noise_mode: str = "const",
    progress: str | None = None,
    features: Tensor | None = None,
) -> Tensor:
    """Render codes in batches that fit into memory.

    Args:
        generator: The generator.
        codes: [..., num_ws, w_dim].
        noise_mode: Noise mode of the generator.
        progress: The name of a progress bar; None for no progress bar.
        features: Corrections of the generator's features, [..., C, r, r].

    Returns:
        Images [..., img_channels, R, R] in [-1, 1], clamped, on the CPU.
    """
    flat = codes.flatten(0, -3)  # [N, num_ws, w_dim]
    corrections = None if features is None else features.flatten(0, -4)  # [N, C, r, r]
    size = at_once(generator)
    images = []
    with Progress(len(flat), progress or "", "img", leave=False, hidden=progress is None) as bar:
        for start in range(0, len(flat), size):
            part = flat[start : start + size]  # [n, num_ws, w_dim]
            corrected = {} if corrections is None else {"features": corrections[start : start + size]}
            rendered = generator.synthesis(part, noise_mode=noise_mode, **corrected)  # [n, img_channels, R, R]
            images.append(rendered.float().clamp(-1, 1).cpu())
            bar.update(len(part))
    return torch.cat(images).unflatten(0, codes.shape[:-2])  # [..., img_channels, R, R]


def vary_noise(generator: Generator, w_plus: Tensor, draws: int, seed: int) -> Tensor:
    """Render one code [num_ws, w_dim] under fresh noise inputs: images [draws, img_channels, R, R] on the CPU.

    The noise is a function of the seed; the caller's random state is not changed.
    """
    codes = w_plus.expand(draws, -1, -1)  # [draws, num_ws, w_dim]
    indices = [w_plus.device] if w_plus.device.type == "cuda" else []
    with torch.random.fork_rng(devices=indices):
        torch.manual_seed(seed)
        return render(generator, codes, noise_mode="random")


def noise_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean and standard deviation of every pixel over draws of the noise (StyleGAN, figure 4).

    Args:
        images: [D, C, H, W] in [-1, 1].

    Returns:
        The mean [C, H, W], and the deviation [H, W] averaged over the channels.
    """
    mean = images.mean(0)  # [C, H, W]
    deviation = images.std(0, correction=0).mean(0)  # [H, W]
    return mean, deviation
