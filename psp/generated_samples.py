"""Add samples of the generator, whose codes are known, to the training pairs: z -> w -> image.

The encoder then learns from the codes themselves, |E(G(w)) - w|^2, in addition to the images of the task.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from psp.model import fit
from stylegan2.metrics.samples import as_rgb
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.randomness import own_shard

GAIN, OFFSET = 0.1, 0.1  # largest change of the contrast and of the brightness of a colour channel
MAX_BLUR = 1.0 / 64  # largest standard deviation of the blur, as a share of the image's side


class GeneratedBatch(NamedTuple):
    """A batch whose first samples are generated."""

    source: Tensor
    """[N, C, S, S]"""
    target: Tensor
    """[N, C, T, T]"""
    codes: Tensor
    """[G, num_ws, w_dim], codes of the first G samples"""


@torch.no_grad()
def with_generated(generator: Generator, source: Tensor, target: Tensor, total: int) -> GeneratedBatch:
    """Replace the first images of a batch by samples of the generator.

    The encoder reads them with changed colours and blurred, so that it does not rely on the sharpness of the generator;
    the targets are the unchanged samples.

    Args:
        generator: The generator.
        source: [N, C, S, S] in [-1, 1], images of as many channels as the generator's, or RGB.
        target: [N, C, T, T] in [-1, 1].
        total: How many samples the whole batch has, in all processes and rounds.
    """
    z = own_shard(torch.randn(total, generator.z_dim, device=source.device))  # [G, z_dim]
    changes = own_shard(torch.rand(total, 2 * source.shape[1] + 1, device=source.device))  # [G, 2 C + 1]
    codes = generator.mapping(z)  # [G, num_ws, w_dim]
    if not len(z):
        return GeneratedBatch(source, target, codes)
    images = generator.synthesis(codes, noise_mode="const").float().clamp(-1, 1)  # [G, img_channels, R, R]
    images = images if images.shape[1] == source.shape[1] else as_rgb(images)  # [G, C, R, R]
    seen = altered(fit(images, source.shape[-1]), changes)  # [G, C, S, S]
    wanted = fit(images, target.shape[-1])  # [G, C, T, T]
    rest = len(z)
    return GeneratedBatch(torch.cat([seen, source[rest:]]), torch.cat([wanted, target[rest:]]), codes)


def altered(images: Tensor, changes: Tensor) -> Tensor:
    """Change contrast, brightness and sharpness of images.

    Args:
        images: [G, C, S, S] in [-1, 1].
        changes: [G, 2 C + 1] in [0, 1): a gain and an offset for each channel, then a blur.

    Returns:
        [G, C, S, S] in [-1, 1].
    """
    channels = images.shape[1]
    gain, offset, sigma = changes.split([channels, channels, 1], dim=1)  # [G, C], [G, C], [G, 1]
    images = images * (1 + GAIN * (2 * gain - 1))[:, :, None, None] + OFFSET * (2 * offset - 1)[:, :, None, None]
    return blur(images, sigma.squeeze(1) * MAX_BLUR * images.shape[-1]).clamp(-1, 1)


def blur(images: Tensor, sigmas: Tensor) -> Tensor:
    """Convolve each image [G, C, S, S] with a Gaussian of its own standard deviation [G], in pixels, up to S / 64."""
    count, channels, size, _ = images.shape
    radius = max(1, round(3 * MAX_BLUR * size))
    position = torch.arange(-radius, radius + 1, device=images.device)  # [K]
    taps = torch.exp(-0.5 * (position / sigmas.clamp_min(1e-3)[:, None]).square())  # [G, K]
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]  # [G C, 1, K]
    planes = F.pad(images.reshape(1, count * channels, size, size), [radius] * 4, mode="replicate")
    planes = F.conv2d(planes, taps[:, :, :, None], groups=count * channels)
    planes = F.conv2d(planes, taps[:, :, None, :], groups=count * channels)
    return planes.view_as(images)


def latent_loss(w_plus: Tensor, codes: Tensor) -> Tensor:
    """Return the mean squared difference between codes [G, num_ws, w_dim] and those of the images: [G]."""
    return (w_plus - codes).square().mean([1, 2])  # [G]
