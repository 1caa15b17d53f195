"""pSp: an encoder in front of a generator (arXiv 2008.00951, eq. 1: pSp(x) = G(E(x) + w_avg)).

An iterative encoder (ReStyle, arXiv 2104.02699, figure 2) starts from the latent average and corrects itself:
w_{t+1} = w_t + E(x, G(w_t)).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp import conjugate_gradient
from psp.conjugate_gradient import rms
from psp.encoders import Encoder
from psp.encoders.encoder import with_defaults
from stylegan2 import ops
from stylegan2.metrics.samples import as_rgb
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.pixels import LUMA


class Codes(NamedTuple):
    """The codes of images in the latent space of a generator."""

    w_plus: Tensor
    """[N, num_ws, w_dim]"""
    features: Tensor | None = None
    """[N, C, r, r], added to the generator's feature maps of side r; None for codes in W+ only"""

    def map(self, function: Callable[[Tensor], Tensor]) -> "Codes":
        """Apply a function to w_plus and, if there are any, to features."""
        return Codes(function(self.w_plus), None if self.features is None else function(self.features))

    def split(self, size: int) -> list["Codes"]:
        """Split the codes into parts of at most `size` images."""
        w_plus = self.w_plus.split(size)
        features = [None] * len(w_plus) if self.features is None else self.features.split(size)
        return [Codes(*part) for part in zip(w_plus, features, strict=True)]


class PSp(nn.Module):
    """An encoder and the generator whose space it encodes into: images -> w+ -> images.

    Args:
        encoder: Returns offsets to the latent average, [N, num_ws, w_dim], or, if it also reads the rendering, offsets
            to the codes of that rendering. See `psp.encoders.Encoder`.
        generator: A style-based generator.
        latent_avg: [num_ws, w_dim], or one row [w_dim] or [1, w_dim] for all; by default the generator's `w_avg`.

    Attributes:
        latent_avg: [num_ws, w_dim] buffer.

    Raises:
        UserError: Encoder and generator, or latent_avg and generator, have different sizes.
    """

    latent_avg: Tensor
    encoder: Encoder
    generator: Generator

    def __init__(self, encoder: nn.Module | Encoder, generator: Generator, latent_avg: Tensor | None = None) -> None:
        super().__init__()
        if not getattr(generator, "has_styles", True):
            raise UserError(
                "this generator takes one latent for the whole image (PGGAN), but pSp encodes a code for each layer: "
                "give it a style-based generator, StyleGAN or StyleGAN2"
            )
        rows: int = generator.num_ws
        w_dim: int = generator.w_dim
        described = with_defaults(encoder)
        if (described.num_ws, described.w_dim) != (rows, w_dim):
            raise UserError(
                f"the encoder returns {described.num_ws} codes of {described.w_dim} numbers, but this generator "
                f"takes {rows} of {w_dim}: build the encoder with the generator's num_ws and w_dim"
            )
        average: Tensor = generator.w_avg if latent_avg is None else latent_avg
        if tuple(average.shape) not in {(w_dim,), (1, w_dim), (rows, w_dim)}:
            raise UserError(f"latent_avg has shape {list(average.shape)}, but this generator's is [{rows}, {w_dim}]")
        self.encoder = described
        self.generator = generator
        self.register_buffer("latent_avg", average.detach().expand(rows, w_dim).clone())  # [num_ws, w_dim]

    @property
    def iterations(self) -> int:
        """Return the number of passes of the encoder over an image.

        It is 1 for a single-pass encoder. For an iterative encoder it may be set at any time.

        Raises:
            UserError: The encoder has a single pass, or the number is below 1.
        """
        return self.encoder.iterations

    @iterations.setter
    def iterations(self, count: int) -> None:
        if not (self.encoder.reads_rendering or self.encoder.corrects_features):
            raise UserError(
                "this model's encoder makes one pass over an image, so the number of passes cannot be chosen: "
                "only ReStyle and feature encoders make several"
            )
        if count < 1:
            raise UserError(f"an encoder makes at least 1 pass over an image, not {count}")
        self.encoder.iterations = count

    @property
    def conjugate_steps(self) -> int:
        """Return the number of steps of conjugate gradients after the passes, which may be set at any time.

        Raises:
            UserError: The encoder corrects no features, its source is no picture, or the number is below 0.
        """
        return self.encoder.conjugate_steps

    @conjugate_steps.setter
    def conjugate_steps(self, count: int) -> None:
        encoder = self.encoder
        if count and not encoder.corrects_features:
            raise UserError("this model's encoder corrects no features, so steps of conjugate gradients have no effect")
        if count and encoder.input_channels < min(3, self.generator.img_channels):
            raise UserError(
                "conjugate gradients bring the rendering closer to the source, but the source of this model is no "
                f"picture of {self.generator.img_channels} channels"
            )
        if count < 0:
            raise UserError(f"the number of steps of conjugate gradients must be at least 0, not {count}")
        encoder.conjugate_steps = count

    def encode(self, images: Tensor) -> Codes:
        """Encode images [N, C, S, S] in [-1, 1], where S is the encoder's input_size.

        The result can be differentiated where no steps of conjugate gradients follow the passes (see `make_passes`).
        """
        codes = self.make_passes(images)
        return self.descend(images, codes, self.conjugate_steps) if self.conjugate_steps else codes

    def make_passes(self, images: Tensor) -> Codes:
        """Make all passes of the encoder over images [N, C, S, S] in [-1, 1], without steps of conjugate gradients.

        Of several passes only the last one can be differentiated, as each pass detaches the result of the one before.
        """
        codes = rendering = None
        with torch.no_grad():
            for _ in range(self.iterations - 1):
                codes = self.refine(images, codes, rendering)
                rendering = None if self.encoder.reads_gradient else self.decode(codes)
        return self.refine(images, codes, rendering)

    def descend(self, images: Tensor, codes: Codes, steps: int) -> Codes:
        """Reduce the squared error of the rendering by steps of conjugate gradients on the features alone."""
        if codes.features is None:
            return codes
        w_plus, start = codes.w_plus.detach(), codes.features.to(images.dtype)

        def error_of(features: Tensor) -> Tensor:
            return self.error(images, Codes(w_plus, features))[1]

        with torch.autocast(images.device.type, enabled=False):  # small differences of renderings matter here
            return Codes(w_plus, conjugate_gradient.descend(error_of, start, steps))

    def refine(self, images: Tensor, codes: Codes | None = None, rendering: Tensor | None = None) -> Codes:
        """Make one pass of the encoder: from the latent average or, after the first pass, from codes and rendering.

        Args:
            images: [N, C, S, S] in [-1, 1].
            codes: Result of the pass before, which gets no gradient.
            rendering: Rendering of these codes, [N, img_channels, R, R], which gets no gradient. An encoder that reads
                gradients renders by itself.

        Returns:
            The new codes. A single-pass encoder ignores the given codes; a feature encoder keeps their w_plus and
            adds to their features.
        """
        encoder = self.encoder
        if not encoder.reads_rendering and (codes is None or not encoder.corrects_features):
            return Codes(encoder(images) + self.latent_avg)
        if encoder.reads_gradient and codes is not None:
            w_plus = codes.w_plus.detach()
            features, seen, gradient = self.error_gradient(images, codes)
            correction = encoder.correction(images, seen, w_plus - self.latent_avg, gradient)  # [N, C, r, r]
            return Codes(w_plus, features + correction)
        if codes is None or rendering is None:
            codes = Codes(self.latent_avg.expand(images.shape[0], -1, -1))  # [N, num_ws, w_dim]
            average = self.decode(self.latent_avg[None])  # [1, img_channels, R, R]
            rendering = average.expand(images.shape[0], -1, -1, -1)  # [N, img_channels, R, R]
        w_plus = codes.w_plus.detach()
        seen = fit(rendering.detach(), encoder.input_size)  # [N, img_channels, S, S]
        if encoder.corrects_features:
            correction = encoder.correction(images, seen, w_plus - self.latent_avg)  # [N, C, r, r]
            return Codes(w_plus, correction if codes.features is None else codes.features.detach() + correction)
        return Codes(w_plus + encoder(images, seen))

    def error_gradient(self, images: Tensor, codes: Codes) -> tuple[Tensor, Tensor, Tensor]:
        """Differentiate the squared error of a rendering by the features.

        Args:
            images: [N, C, S, S] in [-1, 1]; a mask may follow the channels of the picture.
            codes: Codes, with features or without.

        Returns:
            The features [N, C', r, r], which are 0 where the codes have none, the rendering [N, img_channels, S, S],
            and the direction [N, C', r, r] in which the error grows, with the root mean square of the error as its own.
            None of them is differentiable.
        """
        side, channels = self.encoder.feature_side, self.encoder.feature_channels
        features = codes.features
        if features is None:
            features = images.new_zeros(images.shape[0], channels, side, side)  # [N, C', r, r]
        with torch.enable_grad():
            features = features.detach().requires_grad_()
            seen, error = self.error(images, Codes(codes.w_plus.detach(), features))
            (gradient,) = torch.autograd.grad(error.square().sum(), features)  # [N, C', r, r]
        # Gradients of different generators differ by orders of magnitude, so only their direction is kept.
        return features.detach(), seen.detach(), gradient * (rms(error.detach()) / (rms(gradient) + TINY))

    def error(self, images: Tensor, codes: Codes) -> tuple[Tensor, Tensor]:
        """Render codes at the size of the images: the rendering [N, img_channels, S, S], and its error [N, 3, S, S]."""
        seen = fit(self.decode(codes).to(images.dtype), self.encoder.input_size)
        return seen, torch.sub(*as_rgb_pair(seen, picture(images, seen.shape[1])))

    def decode(self, codes: Codes | Tensor, noise_mode: str = "const") -> Tensor:
        """Render codes or w_plus [N, num_ws, w_dim]: [N, img_channels, R, R], about in [-1, 1] but not clamped."""
        return rendered(self.generator, codes if isinstance(codes, Codes) else Codes(codes), noise_mode)

    def forward(self, images: Tensor, noise_mode: str = "const") -> Tensor:
        """Encode and render images [N, C, S, S] in [-1, 1]: [N, img_channels, R, R]."""
        return self.decode(self.encode(images), noise_mode)


def rendered(generator: Generator, codes: Codes, noise_mode: str = "const") -> Tensor:
    """Render codes by any generator, also one that takes no corrections if there are none: [N, img_channels, R, R]."""
    corrected = {} if codes.features is None else {"features": codes.features}
    return generator.synthesis(codes.w_plus, noise_mode=noise_mode, **corrected)


TINY = 1e-12


def as_rgb_pair(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Bring what a generator renders and what it should render to RGB, as people see both.

    Gray is repeated, what is transparent shows white, and what a gray generator should render has lost its colours.

    Args:
        output: [N, C, H, W] in [-1, 1], of 1 (gray), 3 (RGB) or 4 channels (RGBA).
        target: The same, of as many channels or of 3.

    Returns:
        Both [N, 3, H, W].
    """
    if output.shape[1] == target.shape[1] == 3:
        return output, target
    if output.shape[1] == 1 and target.shape[1] == 3:
        red, green, blue = target.split(1, dim=1)  # [N, 1, H, W] each
        target = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue  # [N, 1, H, W], without a copy of LUMA to the device
    return as_rgb(output), as_rgb(target)


def picture(source: Tensor, img_channels: int) -> Tensor:
    """Return the channels of a source [N, C, S, S] that show what the generator renders: without a mask after them."""
    colours = 3 if source.shape[1] == 3 else img_channels  # an RGB source is compared with any rendering
    return source[:, :colours]  # [N, 1, 3 or 4, S, S]


LOSS_SIZE = 256  # px; larger images are reduced to this size for the losses, as in the paper


def fit(x: Tensor, size: int) -> Tensor:
    """Resize square images [N, C, S, S] to [N, C, size, size]: down by area averaging, up bilinearly."""
    if x.shape[-1] == size:
        return x
    if x.shape[-1] > size:
        return ops.area_downsample(x, size)  # [N, C, size, size]
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False)  # [N, C, size, size]
