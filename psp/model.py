"""pSp: an encoder in front of a generator (arXiv 2008.00951, eq. 1: pSp(x) = G(E(x) + w_avg))."""

from typing import Any

from torch import Tensor, nn

from stylegan2.runtime.errors import UserError


class PSp(nn.Module):
    """Images -> w+ -> images.

    Args:
        encoder: images -> offsets to the latent average [N, num_ws, w_dim].
        generator: has `num_ws`, `w_dim`, `w_avg` [w_dim] and `synthesis(ws, noise_mode)`.
        latent_avg: [num_ws, w_dim], or one row [w_dim] or [1, w_dim] for all; by default the generator's `w_avg`.

    Attributes:
        latent_avg: [num_ws, w_dim] buffer.

    Raises:
        UserError: encoder and generator, or latent_avg and generator, are of different sizes.
    """

    latent_avg: Tensor
    encoder: Any
    generator: Any

    def __init__(self, encoder: nn.Module, generator: nn.Module, latent_avg: Tensor | None = None) -> None:
        super().__init__()
        rows: int = generator.num_ws  # type: ignore[assignment]
        w_dim: int = generator.w_dim  # type: ignore[assignment]
        if (encoder.num_ws, encoder.w_dim) != (rows, w_dim):
            raise UserError(
                f"The encoder answers with {encoder.num_ws} codes of {encoder.w_dim} numbers, but this generator takes "
                f"{rows} of {w_dim}: build the encoder with the generator's num_ws and w_dim."
            )
        average: Tensor = generator.w_avg if latent_avg is None else latent_avg  # type: ignore[assignment]
        if tuple(average.shape) not in {(w_dim,), (1, w_dim), (rows, w_dim)}:
            raise UserError(f"latent_avg has shape {list(average.shape)}, but this generator's is [{rows}, {w_dim}].")
        self.encoder = encoder
        self.generator = generator
        self.register_buffer("latent_avg", average.detach().expand(rows, w_dim).clone())  # [num_ws, w_dim]

    def encode(self, images: Tensor) -> Tensor:
        """images [N, C, S, S] in [-1, 1], S the encoder's input_size -> w_plus [N, num_ws, w_dim]."""
        return self.encoder(images) + self.latent_avg

    def decode(self, w_plus: Tensor, noise_mode: str = "const") -> Tensor:
        """w_plus [N, num_ws, w_dim] -> images [N, img_channels, R, R], about [-1, 1] (not clamped)."""
        return self.generator.synthesis(w_plus, noise_mode=noise_mode)  # type: ignore[operator]

    def forward(self, images: Tensor, noise_mode: str = "const") -> Tensor:
        """images [N, C, S, S] in [-1, 1] -> images [N, img_channels, R, R]."""
        return self.decode(self.encode(images), noise_mode)
