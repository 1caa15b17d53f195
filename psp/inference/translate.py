"""Translation of images by a model: encoding, optional refinement and style mixing, and rendering."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from psp.losses import WeightedLosses
from psp.mixing import Mixing, Variants
from psp.model import LOSS_SIZE, Codes, PSp
from psp.optimize import losses_for, optimize_codes, tune_generator
from psp.precision import autocast, safe_precision
from stylegan2.latents.sampling import render
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.device import place
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.pixels import LUMA
from stylegan2.runtime.progress import Progress


@dataclass(frozen=True)
class Refinement:
    """Settings of the optimisation after encoding, which brings the rendering of each image closer to the image."""

    losses: WeightedLosses
    """losses between output and target; for codes with features `psp.optimize.losses_for` changes their weights"""
    steps: int = 0
    """steps of W+ optimisation that start from the encoder's codes (`psp.optimize`)"""
    pivotal_steps: int = 0
    """steps of pivotal tuning, which tunes a copy of the generator for each image (`psp.optimize`)"""
    locality: float = 0.0
    """weight of the locality regularization of pivotal tuning"""
    seed: int = 0
    """seed of the locality regularization"""


@dataclass(frozen=True)
class Translation:
    """A batch of results of N sources with K outputs each; the outputs of a source are adjacent."""

    images: Tensor
    """float32 [N * K, img_channels, R, R] in [-1, 1], on the CPU"""
    codes: Codes
    """N * K codes, float32, on the CPU"""
    seconds: float
    """time that the batch took"""
    generators: list[Generator] = field(default_factory=list)
    """one generator per source after pivotal tuning, which renders the images of source n; otherwise empty"""


def translate(
    model: PSp,
    sources: Iterable[Tensor],
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    noise_mode: str = "const",
    mixing: Mixing | None = None,
    refinement: Refinement | None = None,
    precision: str = "fp32",
) -> Iterator[Translation]:
    """Encode and render images in batches, in order.

    Args:
        model: The model, which is moved to `device` and set to evaluation mode.
        sources: Images of any size, float [C, H, W] in [-1, 1] (see `prepare`). Only one batch is held in memory.
        batch_size: Number of outputs per batch. The last batch may be smaller, and pivotal tuning takes one source at a
            time.
        device: Device of the networks.
        noise_mode: Noise of the generator: "const", "random" or "none".
        mixing: Settings for K outputs per source, with random styles in some rows. By default there is one output, from
            the encoder's codes.
        refinement: Settings of the optimisation after encoding, for encoders that read photos.
        precision: One of `stylegan2.runtime.ranges.PRECISIONS`. A 16-bit precision is checked on the first batch
            (`safe_precision`).

    Yields:
        One `Translation` per batch. Apart from rounding, no result depends on the other images of its batch.

    Raises:
        UserError: A source has channels that the encoder cannot read, the mixing names rows that the generator does not
            have, or the memory of the device is too small.
    """
    if batch_size < 1:
        raise UserError(f"the batch size must be at least 1, not {batch_size}")
    device = torch.device(device)
    place(model.eval(), device)
    encoder = model.encoder
    if refinement is not None:
        refinement.losses.to(device)
    variants = Variants.draw(model.generator, mixing)
    at_once = 1 if refinement is not None and refinement.pivotal_steps else max(1, batch_size // variants.count)
    remaining, checked = iter(sources), False
    while batch := list(islice(remaining, at_once)):
        prepared = [prepare(source, encoder.input_channels, encoder.input_size) for source in batch]
        inputs = torch.stack(prepared).to(device)  # [N, C, S, S]
        if not checked:
            precision, checked = safe_precision(model, inputs, precision), True
        start = time.perf_counter()
        try:
            images, codes, generators = _translate_batch(
                model, batch, inputs, noise_mode, variants, refinement, precision
            )
        except torch.OutOfMemoryError as error:
            raise UserError(f"{device} has too little memory for {len(batch)} images at a time: use fewer") from error
        yield Translation(images, codes.map(Tensor.cpu), time.perf_counter() - start, generators)


def _translate_batch(
    model: PSp,
    sources: list[Tensor],
    inputs: Tensor,
    noise_mode: str,
    variants: Variants,
    refinement: Refinement | None,
    precision: str,
) -> tuple[Tensor, Codes, list[Generator]]:
    with torch.no_grad(), autocast(inputs.device, precision):
        codes = model.encode(inputs).map(Tensor.float)
    tuned: list[Generator] = []
    if refinement is not None:
        codes, tuned = _refine(model, sources, codes, refinement)
    outputs = variants.of(model.generator, codes)  # codes of N * K images
    generators = tuned or [model.generator]
    parts = outputs.split(len(outputs.w_plus) // len(generators))  # one part per generator
    with autocast(inputs.device, precision):
        images = [
            render(generator, part.w_plus, noise_mode, features=part.features)
            for generator, part in zip(generators, parts, strict=True)
        ]
    return torch.cat(images), outputs, tuned  # images [N * K, img_channels, R, R]


def _refine(model: PSp, sources: list[Tensor], codes: Codes, r: Refinement) -> tuple[Codes, list[Generator]]:
    """Optimise the codes and tune a generator for each source, as far as the settings ask for it."""
    generator = model.generator
    size = min(LOSS_SIZE, generator.img_resolution)
    if r.steps:
        with Progress(r.steps, "refining", "step", leave=False) as bar:
            target = _targets(sources, size, codes.w_plus.device)  # [N, 3, T, T]
            losses = losses_for(codes, r.losses)
            codes = optimize_codes(generator, target, losses, codes, r.steps, on_step=lambda _: bar.update())
    tuned = []
    if r.pivotal_steps:
        tuned = [tune_for(generator, [source], code, r) for source, code in zip(sources, codes.split(1), strict=True)]
    return codes, tuned


def tune_for(generator: Generator, sources: list[Tensor], pivot: Codes, r: Refinement) -> Generator:
    """Tune a copy of a generator such that it renders all of N sources from their codes (see `psp.optimize`).

    Args:
        generator: The generator, which stays unchanged.
        sources: N images, float [C, H, W] in [-1, 1], as for `translate`.
        pivot: Codes of the sources, with w_plus [N, num_ws, w_dim].
        r: Losses and number of steps.

    Returns:
        The tuned copy.
    """
    target = _targets(sources, generator.img_resolution, pivot.w_plus.device)  # [N, 3, R, R]
    with Progress(r.pivotal_steps, "tuning", "step", leave=False) as bar:
        settings = {"locality": r.locality, "seed": r.seed, "on_step": lambda _: bar.update()}
        return tune_generator(generator, target, pivot, losses_for(pivot, r.losses), r.pivotal_steps, **settings)


def _targets(sources: list[Tensor], size: int, device: torch.device) -> Tensor:
    """Return the targets of the renderings [N, 3, size, size], which are the resized sources."""
    return torch.stack([prepare(source, 3, size) for source in sources]).to(device)  # [N, 3, size, size]


def prepare(source: Tensor, channels: int, size: int) -> Tensor:
    """Convert a source to the input of an encoder.

    The central square of the source is resized with antialiasing. Gray is converted to RGB by repetition, and RGB to
    gray by its luma.

    Args:
        source: Image [C, H, W] in [-1, 1].
        channels: Number of channels that the encoder reads.
        size: Side of the encoder's input in pixels.

    Returns:
        float32 [channels, size, size] in [-1, 1].

    Raises:
        UserError: The source is not an image, or its channels cannot be converted.
    """
    if source.ndim != 3 or min(source.shape) < 1:
        raise UserError(f"a source is an image [C, H, W], not a tensor of shape {list(source.shape)}")
    height, width = source.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = source[:, top : top + side, left : left + side].float()  # [C, side, side]
    if side != size:
        square = F.interpolate(square[None], (size, size), mode="bicubic", antialias=True)[0]  # [C, size, size]
        square = square.clamp(-1, 1)
    return _match_channels(square, channels)


def _match_channels(image: Tensor, channels: int) -> Tensor:
    if image.shape[0] == channels:
        return image
    if (image.shape[0], channels) == (1, 3):
        return image.expand(3, -1, -1)  # [3, H, W]
    if (image.shape[0], channels) == (3, 1):
        return torch.tensordot(image.new_tensor([LUMA]), image, dims=1)  # [1, H, W]
    raise UserError(f"the encoder reads images of {channels} channels, but this one has {image.shape[0]}")
