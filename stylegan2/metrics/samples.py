"""Draw the samples of a generator that are measured, rounded as if they came from a file."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.latents.sampling import device_of
from stylegan2.networks.conditioning import labels_of
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.progress import Progress
from stylegan2.runtime.randomness import derive_seed, seed_step, seeded_normal

LARGEST_SIDE = 256  # largest side of images whose perceptual distance is measured, as in StyleGAN
NOISE_STREAM, CLASS_STREAM = 1000, 1001  # noise and classes are drawn from other random streams than latents


def latents(generator: Generator, count: int, seed: int, stream: int = 0) -> Tensor:
    """Draw z [count, z_dim] on the CPU, the same for every device and batch size, from one stream of a seed."""
    return seeded_normal((count, int(generator.z_dim)), derive_seed(seed, stream))


def classes(generator: Generator, count: int, seed: int) -> Tensor | None:
    """Draw labels on the CPU, each class equally often.

    Returns:
        int64 [count], or label vectors of the data, float32 [count, num_classes]; None for a generator without classes.
    """
    order = torch.Generator().manual_seed(derive_seed(seed, CLASS_STREAM))
    return labels_of(generator, torch.randperm(count, generator=order))


def mapped(generator: Generator, z: Tensor, truncation_psi: float = 1.0, labels: Tensor | None = None) -> Tensor:
    """Map z [N, z_dim] and labels, as `classes` returns them, to ws [N, num_ws, w_dim] on the generator's device."""
    return generator.mapping(z, truncation_psi, labels=None if labels is None else labels.to(z.device))


def batches(count: int, batch_size: int, name: str) -> Iterator[slice]:
    """Yield slices of at most `batch_size` that cover `count` items, and show a progress bar."""
    with Progress(count, name, "img", leave=False) as progress:
        for start in range(0, count, batch_size):
            stop = min(start + batch_size, count)
            yield slice(start, stop)
            progress.update(stop - start)


@torch.no_grad()
def generate(
    generator: Generator, z: Tensor, batch_size: int, truncation_psi: float = 1.0, seed: int = 0, name: str = "samples"
) -> Iterator[Tensor]:
    """Render z [count, z_dim] in batches [N, C, R, R], with fresh noise, rounded to the 256 levels of a file.

    The noise is a function of the seed: the global generators are re-seeded before each batch.
    """
    device, labels = device_of(generator), classes(generator, len(z), seed)
    for part in batches(len(z), batch_size, name):
        seed_step(seed, NOISE_STREAM, part.start)
        ws = mapped(generator, z[part].to(device), truncation_psi, None if labels is None else labels[part])
        yield rounded(generator.synthesis(ws, noise_mode="random"))


def rounded(images: Tensor) -> Tensor:
    """Clamp images to [-1, 1] and round them to the values that 8 bits can hold."""
    return (images.clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1


def as_rgb(images: Tensor) -> Tensor:
    """Convert images of 1, 3 or 4 channels to [N, 3, H, W]: gray is repeated, and transparency becomes white."""
    channels = images.shape[1]
    if channels == 1:
        return images.expand(-1, 3, -1, -1)  # [N, 3, H, W]
    if channels == 4:
        return torch.lerp(torch.ones_like(images[:, :3]), images[:, :3], (images[:, 3:] + 1) / 2)  # [N, 3, H, W]
    return images


def prepare(images: Tensor) -> Tensor:
    """Prepare images for perceptual distances: RGB, reduced to at most 256 px by averaging areas: [N, 3, H, W]."""
    images = as_rgb(images)
    factor = images.shape[2] // LARGEST_SIDE
    return F.avg_pool2d(images, factor) if factor > 1 else images  # [N, 3, H/factor, W/factor]
