"""What is measured: samples of a generator, as they would come back from a file."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.latents.sampling import device_of
from stylegan2.networks.conditioning import labels_of
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.progress import Progress
from stylegan2.runtime.randomness import derive_seed, seed_step, seeded_normal

LARGEST_SIDE = 256  # of images whose perceptual distance is measured, as in StyleGAN
NOISE_STREAM, CLASS_STREAM = 1000, 1001  # noise and classes of samples draw from other streams than their latents


def latents(generator: Generator, count: int, seed: int, stream: int = 0) -> Tensor:
    """Draw z [count, z_dim] on the CPU: the same for every device and batch size. Streams of a seed are independent."""
    return seeded_normal((count, int(generator.z_dim)), derive_seed(seed, stream))


def classes(generator: Generator, count: int, seed: int) -> Tensor | None:
    """Draw labels on the CPU, each class as often, int64 [count], or vectors of the data, float32 [count, num_classes].

    None for generators that are not conditioned on classes.
    """
    order = torch.Generator().manual_seed(derive_seed(seed, CLASS_STREAM))
    return labels_of(generator, torch.randperm(count, generator=order))


def mapped(generator: Generator, z: Tensor, truncation_psi: float = 1.0, labels: Tensor | None = None) -> Tensor:
    """Map z [N, z_dim] on the generator's device to ws [N, num_ws, w_dim]; labels are as `classes` returns them."""
    return generator.mapping(z, truncation_psi, labels=None if labels is None else labels.to(z.device))


def batches(count: int, batch_size: int, name: str) -> Iterator[slice]:
    """Yield slices of at most batch_size up to count, behind a progress bar."""
    with Progress(count, name, "img", leave=False) as progress:
        for start in range(0, count, batch_size):
            stop = min(start + batch_size, count)
            yield slice(start, stop)
            progress.update(stop - start)


@torch.no_grad()
def generate(
    generator: Generator, z: Tensor, batch_size: int, truncation_psi: float = 1.0, seed: int = 0, name: str = "samples"
) -> Iterator[Tensor]:
    """Yield images [N, C, R, R] of z [count, z_dim] in batches, with fresh noise, rounded to the 256 levels of a file.

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
    """Turn [N, 1, 3 or 4, H, W] into [N, 3, H, W]: gray is repeated, and what is transparent shows white."""
    channels = images.shape[1]
    if channels == 1:
        return images.expand(-1, 3, -1, -1)  # [N, 3, H, W]
    if channels == 4:
        return torch.lerp(torch.ones_like(images[:, :3]), images[:, :3], (images[:, 3:] + 1) / 2)  # [N, 3, H, W]
    return images


def prepare(images: Tensor) -> Tensor:
    """Turn images into what perceptual distances see: RGB and, by averaging areas, at most 256 px. [N, 3, H, W]."""
    images = as_rgb(images)
    factor = images.shape[2] // LARGEST_SIDE
    return F.avg_pool2d(images, factor) if factor > 1 else images  # [N, 3, H/factor, W/factor]
