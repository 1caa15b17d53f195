"""pSp: an encoder in front of a generator (arXiv 2008.00951, eq. 1: pSp(x) = G(E(x) + w_avg)).

An iterative encoder (ReStyle, arXiv 2104.02699, figure 2) starts from the latent average and corrects itself:
w_{t+1} = w_t + E(x, G(w_t)).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.encoders import Encoder
from psp.encoders.encoder import with_defaults
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError


class PSp(nn.Module):
    """Images -> w+ -> images.

    Args:
        encoder: images -> offsets to the latent average [N, num_ws, w_dim]; one that reads the rendering too gives
            offsets to the codes of that rendering. See `psp.encoders.Encoder`.
        generator: has `num_ws`, `w_dim`, `w_avg` [w_dim] and `synthesis(ws, noise_mode)`.
        latent_avg: [num_ws, w_dim], or one row [w_dim] or [1, w_dim] for all; by default the generator's `w_avg`.

    Attributes:
        latent_avg: [num_ws, w_dim] buffer.

    Raises:
        UserError: encoder and generator, or latent_avg and generator, are of different sizes.
    """

    latent_avg: Tensor
    encoder: Encoder
    generator: Generator

    def __init__(self, encoder: nn.Module, generator: Generator, latent_avg: Tensor | None = None) -> None:
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
                f"the encoder answers with {described.num_ws} codes of {described.w_dim} numbers, but this generator "
                f"takes {rows} of {w_dim}: build the encoder with the generator's num_ws and w_dim"
            )
        average: Tensor = generator.w_avg if latent_avg is None else latent_avg
        if tuple(average.shape) not in {(w_dim,), (1, w_dim), (rows, w_dim)}:
            raise UserError(f"latent_avg has shape {list(average.shape)}, but this generator's is [{rows}, {w_dim}].")
        self.encoder = described
        self.generator = generator
        self.register_buffer("latent_avg", average.detach().expand(rows, w_dim).clone())  # [num_ws, w_dim]

    @property
    def iterations(self) -> int:
        """Passes of the encoder over an image: 1, unless it corrects itself; then it may be set at any time.

        UserError: it does not correct itself, or the number is below 1.
        """
        return self.encoder.iterations

    @iterations.setter
    def iterations(self, count: int) -> None:
        if not self.encoder.reads_rendering:
            raise UserError(
                "this model's encoder looks at an image once and does not correct itself, so the number of its passes "
                "cannot be chosen: ReStyle encoders can"
            )
        if count < 1:
            raise UserError(f"an encoder makes at least 1 pass over an image, not {count}")
        self.encoder.iterations = count

    def encode(self, images: Tensor) -> Tensor:
        """images [N, C, S, S] in [-1, 1], S the encoder's input_size -> w_plus [N, num_ws, w_dim].

        Of several passes only the last one can be differentiated: each starts from what the one before arrived at.
        """
        w_plus = rendering = None
        with torch.no_grad():
            for _ in range(self.iterations - 1):
                w_plus = self.refine(images, w_plus, rendering)
                rendering = self.decode(w_plus)
        return self.refine(images, w_plus, rendering)

    def refine(self, images: Tensor, w_plus: Tensor | None = None, rendering: Tensor | None = None) -> Tensor:
        """One pass of the encoder, from codes and their rendering or, in the first pass, from the latent average.

        images [N, C, S, S], w_plus [N, num_ws, w_dim], rendering [N, img_channels, R, R] -> w_plus [N, num_ws, w_dim].
        No gradient reaches the codes and the rendering given. An encoder that does not correct itself ignores them.
        """
        if not self.encoder.reads_rendering:
            return self.encoder(images) + self.latent_avg
        if w_plus is None or rendering is None:
            w_plus = self.latent_avg.expand(len(images), -1, -1)  # [N, num_ws, w_dim]
            rendering = self.decode(self.latent_avg[None]).expand(len(images), -1, -1, -1)  # [N, img_channels, R, R]
        seen = fit(rendering.detach(), self.encoder.input_size)  # [N, img_channels, S, S]
        return w_plus.detach() + self.encoder(images, seen)

    def decode(self, w_plus: Tensor, noise_mode: str = "const") -> Tensor:
        """w_plus [N, num_ws, w_dim] -> images [N, img_channels, R, R], about [-1, 1] (not clamped)."""
        return self.generator.synthesis(w_plus, noise_mode=noise_mode)

    def forward(self, images: Tensor, noise_mode: str = "const") -> Tensor:
        """images [N, C, S, S] in [-1, 1] -> images [N, img_channels, R, R]."""
        return self.decode(self.encode(images), noise_mode)


LOSS_SIZE = 256  # pixels that the paper's losses look at; the images of smaller generators are looked at as they are


def fit(x: Tensor, size: int) -> Tensor:
    """A square image at another size: area-averaged to a smaller one, bilinear to a larger one. [N, C, size, size]."""
    if x.shape[-1] == size:
        return x
    if x.shape[-1] > size:
        return F.adaptive_avg_pool2d(x, size)  # [N, C, size, size]
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False)  # [N, C, size, size]
