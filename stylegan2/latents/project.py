"""Project images into the latent space by optimisation (StyleGAN2, section 5 and appendix D), also into W+."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from stylegan2 import ops
from stylegan2.latents.sampling import random_w
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.randomness import derive_seed, seeded_normal

SPACES = ("w", "w_plus")
DISTANCE_SIZE = 256  # larger images are reduced to this before their distance is measured
SMALLEST_NOISE = 8  # side at which the pyramid of a noise map ends
NOISE_MAP = "noise_const"  # the name of a layer's noise buffer in the networks

Distance = Callable[[Tensor, Tensor], Tensor]  # output, target [N, C, H, W] in [-1, 1] -> [N]
OnStep = Callable[[int, Tensor, Tensor], object]  # step, images [N, C, R, R], distances [N]


@dataclass(frozen=True)
class Schedule:
    """The settings of the projector; the defaults are those of appendix D.

    Raises:
        UserError: A number is out of its range.
    """

    steps: int = 1000
    learning_rate: float = 0.1
    """largest learning rate: it rises linearly over the first 5 % of the steps and falls as a cosine over the last
    25 %"""
    w_noise: float = 0.05
    """standard deviation of the noise that is added to w, in units of sigma_w; it falls to 0 at 75 % of the steps"""
    noise_weight: float = 1e5
    """weight of the regularization of the noise maps"""
    w_samples: int = 10_000
    """samples from which the mean of W and sigma_w are estimated"""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.w_samples < 2:
            raise UserError("a projection needs at least 1 step and 2 samples of W")
        if not self.learning_rate > 0 or not self.w_noise >= 0 or not self.noise_weight >= 0:
            raise UserError("the learning rate of a projection must be positive, and its weights must not be negative")


@dataclass(frozen=True)
class Projection:
    """The latents and noise maps that were found for N targets."""

    w_plus: Tensor
    """[N, num_ws, w_dim]; in W all rows are the same"""
    noises: dict[str, Tensor]
    """noise maps by the name of their buffer in `generator.synthesis`, each [N, 1, H, W]"""
    images: Tensor
    """[N, C, R, R], rendered from both"""
    distances: Tensor
    """[N], distances of the images from their targets"""


def project(
    generator: Generator,
    target: Tensor,
    distance: Distance,
    space: str = "w",
    schedule: Schedule | None = None,
    on_step: OnStep = lambda step, images, distances: None,
) -> Projection:
    """Find the latents and noise maps whose rendering is closest to each target.

    The optimisation starts from the mean of W. No result depends on the other targets of the batch, and the generator
    is not changed.

    Args:
        generator: A style-based generator in evaluation mode.
        target: [N, C, R, R] in [-1, 1], of the generator's resolution and channels, on its device.
        distance: Returns one value per sample and is differentiable in its first argument. A perceptual distance finds
            better latents than a pixelwise one. Images above 256 px are reduced to 256 px by averaging areas first.
        space: "w", one w for all layers, as in the paper; or "w_plus", one w for each layer, which comes closer to the
            target but leaves the distribution of W.
        schedule: Steps, rates and weights; by default the paper's.
        on_step: Called after each step with its number from 1 on, the noisy rendering that it saw and the distances.

    Raises:
        UserError: There is no such space, the targets have another size, or the device has too little memory for them.
    """
    _check(generator, target, space)
    try:
        return _optimise(generator, target, distance, space, schedule or Schedule(), on_step)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{target.device} has too little memory to project {len(target)} images at a time: use fewer"
        ) from error


@torch.no_grad()
def w_statistics(generator: Generator, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the mean of W [w_dim], and sigma_w = sqrt(E |w - mean|^2), a scalar (appendix D)."""
    w = random_w(generator, samples, derive_seed(seed, 0))  # [samples, w_dim]
    mean = w.mean(0)  # [w_dim]
    return mean, (w - mean).square().sum(1).mean().sqrt()


def ramped(step: int, steps: int, rampup: float = 0.05, rampdown: float = 0.25) -> float:
    """Return the factor of the learning rate in a step, counted from 0: linear rise, cosine fall (appendix D).

    It is never 0: the rise is evaluated at the end of the step, as its start would waste the first step.
    """
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1.0 - step / steps) / rampdown))
    return down * min(1.0, (step + 1) / steps / rampup)


def w_noise_scale(progress: float, until: float = 0.75) -> float:
    """Return t^2, with t falling linearly from 1 to 0 over the first 75 % of the steps."""
    return max(0.0, 1.0 - progress / until) ** 2


def noise_regularization(noise: Tensor) -> Tensor:
    """Compute the squared autocorrelation of noise maps at shifts of one pixel, over a pyramid (appendix D).

    Each level halves the one before, down to 8 px; the factor 2 keeps the unit variance of independent pixels. The maps
    wrap around at their edges.

    Args:
        noise: [N, 1, H, W].

    Returns:
        [N].
    """
    total = noise.new_zeros(len(noise))  # [N]
    while True:
        for dim in (2, 3):
            total = total + (noise * noise.roll(1, dim)).mean([1, 2, 3]).square()  # [N]
        if noise.shape[-1] <= SMALLEST_NOISE:
            return total
        noise = F.avg_pool2d(noise, 2) * 2  # [N, 1, H/2, W/2]


@torch.no_grad()
def normalize_noise(noise: Tensor) -> None:
    """Scale each map of [N, 1, H, W] to mean 0 and variance 1, in place."""
    noise -= noise.mean([2, 3], keepdim=True)
    noise *= noise.square().mean([2, 3], keepdim=True).rsqrt()


def synthesize(generator: Generator, w_plus: Tensor, noises: dict[str, Tensor]) -> Tensor:
    """Render images [N, C, R, R] with given noise maps, [N, 1, H, W] each, without changing the generator.

    Gradients reach the codes and the maps, not the weights.
    """
    frozen = {name: parameter.detach() for name, parameter in generator.synthesis.named_parameters()}
    return functional_call(
        cast(nn.Module, generator.synthesis), {**frozen, **noises}, (w_plus,), {"noise_mode": "const"}
    )


def _optimise(
    generator: Generator, target: Tensor, distance: Distance, space: str, s: Schedule, on_step: OnStep
) -> Projection:
    mean, sigma = w_statistics(generator, s.w_samples, s.seed)
    count, num_ws = len(target), generator.num_ws
    rows = num_ws if space == "w_plus" else 1
    w = mean.repeat(count, rows, 1).requires_grad_(True)  # [N, rows, w_dim]
    noises = _initial_noise(generator, count, s.seed)
    target = reduce(target)  # [N, C, T, T]
    optimizer = torch.optim.Adam([w, *noises.values()], lr=s.learning_rate)
    with torch.enable_grad():
        for step in range(s.steps):
            progress = step / s.steps
            optimizer.param_groups[0]["lr"] = s.learning_rate * ramped(step, s.steps)
            jitter = seeded_normal((1, rows, len(mean)), derive_seed(s.seed, 2, step), w.device)  # [1, rows, w_dim]
            noisy = w + jitter * (sigma * s.w_noise * w_noise_scale(progress))
            images = synthesize(generator, noisy.expand(-1, num_ws, -1), noises)  # [N, C, R, R]
            distances = distance(reduce(images), target)  # [N]
            regularization = sum(noise_regularization(noise) for noise in noises.values())  # [N], or 0
            optimizer.zero_grad(set_to_none=True)
            loss = (distances + s.noise_weight * regularization).sum()  # a sum keeps the targets independent
            loss.backward()
            optimizer.step()
            for noise in noises.values():
                normalize_noise(noise)
            on_step(step + 1, images.detach(), distances.detach())
    with torch.no_grad():
        w_plus = w.detach().repeat(1, num_ws // rows, 1)  # [N, num_ws, w_dim]
        noises = {name: noise.detach() for name, noise in noises.items()}
        images = synthesize(generator, w_plus, noises)  # [N, C, R, R]
        return Projection(w_plus, noises, images, distance(reduce(images), target))


def _initial_noise(generator: Generator, count: int, seed: int) -> dict[str, Tensor]:
    """Draw N(0, 1) maps, the same for every target, so that no result depends on its place in the batch."""
    buffers = [(name, b) for name, b in generator.synthesis.named_buffers() if name.endswith(NOISE_MAP)]
    noises = {}
    for k, (name, buffer) in enumerate(buffers):
        drawn = seeded_normal((1, 1, *buffer.shape[-2:]), derive_seed(seed, 1, k), buffer.device)  # [1, 1, H, W]
        noises[name] = drawn.repeat(count, 1, 1, 1).requires_grad_(True)  # [N, 1, H, W]
    return noises


def reduce(images: Tensor) -> Tensor:
    """Reduce images [N, C, R, R] to at most 256 px by averaging areas."""
    return ops.area_downsample(images, DISTANCE_SIZE) if images.shape[-1] > DISTANCE_SIZE else images


def _check(generator: Generator, target: Tensor, space: str) -> None:
    if space not in SPACES:
        raise UserError(f"there is no latent space {space!r} to project into: choose {' or '.join(SPACES)}")
    wanted = [generator.img_channels, generator.img_resolution, generator.img_resolution]
    if list(target.shape[1:]) != wanted or not len(target):
        raise UserError(
            f"the targets of this projection must have the shape {['N', *wanted]}, not {list(target.shape)}"
        )
