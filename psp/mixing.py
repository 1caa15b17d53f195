"""Style mixing: rows of w+ from random styles, so that a source gives many outputs (arXiv 2008.00951, section 4).

A masked row of output k is alpha * w_k + (1 - alpha) * w+, with w_k the mapped z of that output, the same in all rows.
A correction of features was found for the encoder's styles, so it gives way where other styles change the features
(`psp.feature_editing`), as under an edit, and is halved where they change how the features are drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from psp.feature_editing import edited_codes
from psp.model import Codes
from stylegan2.latents.mixing import mask_rows, mix
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.randomness import derive_seed, seeded_normal

DRAWN_ANEW = 0.5  # share of a correction under other fine styles: more leaves dark patches, less changes the face


@dataclass(frozen=True)
class Mixing:
    """Settings of style mixing: the number of outputs of a source, and what is random in them.

    Raises:
        UserError: A number is out of its range.
    """

    mask: str = "fine"
    """rows of w+ that are mixed, as `mask_rows` reads them"""
    outputs: int = 5
    """number of outputs of each source"""
    alpha: float = 1.0
    """share of the random style in the masked rows, from 0 to 1"""
    seed: int = 0
    """seed of the random styles"""

    def __post_init__(self) -> None:
        if self.outputs < 1:
            raise UserError(f"the number of outputs for each source must be at least 1, not {self.outputs}")
        if not 0 <= self.alpha <= 1:
            raise UserError(f"the share of the random style must be from 0 to 1, not {self.alpha}")


@torch.no_grad()
def random_styles(generator: Generator, count: int, seed: int) -> Tensor:
    """Map z ~ N(0, 1) to styles [count, w_dim], each of which depends only on the seed and on its index."""
    z = torch.cat([seeded_normal((1, generator.z_dim), derive_seed(seed, k)) for k in range(count)])  # [count, z_dim]
    return generator.mapping(z.to(generator.w_avg.device))[:, 0]  # [count, w_dim]


def mixed_codes(generator: Generator, codes: Codes, w_plus: Tensor, rows: Sequence[int], alpha: float = 1.0) -> Codes:
    """Replace the w_plus of codes by mixed ones, and weaken the correction of features accordingly.

    Args:
        generator: The generator that renders the codes.
        codes: The codes of N images.
        w_plus: The mixed codes, [N, num_ws, w_dim].
        rows: The rows of w_plus that are mixed.
        alpha: Share of the other styles in these rows.
    """
    edited = edited_codes(generator, codes, w_plus)
    if edited.features is None or not set(rows) & set(mask_rows("fine", generator.num_ws)):
        return edited
    return Codes(w_plus, edited.features * (1 - alpha * (1 - DRAWN_ANEW)))


@dataclass(frozen=True)
class Variants:
    """The random styles with which every source is mixed."""

    count: int
    """number of outputs of each source"""
    styles: Tensor | None = None
    """[K, w_dim], or None to leave the codes as they are"""
    rows: tuple[int, ...] = ()
    """rows of w+ that are mixed"""
    alpha: float = 1.0
    """share of the random style in them"""

    @classmethod
    def draw(cls, generator: Generator, mixing: Mixing | None) -> "Variants":
        """Draw the styles; where `mixing` is None, there is one output without a random style."""
        if mixing is None:
            return cls(1)
        rows = tuple(mask_rows(mixing.mask, generator.num_ws))
        styles = random_styles(generator, mixing.outputs, mixing.seed)  # [K, w_dim]
        return cls(mixing.outputs, styles, rows, mixing.alpha)

    def of(self, generator: Generator, codes: Codes) -> Codes:
        """Return the codes of N * K outputs from those of N images; the K outputs of an image are adjacent.

        Args:
            generator: The generator that renders the codes.
            codes: The codes of the images, on the generator's device.
        """
        if self.styles is None:
            return codes
        w_plus = mix(codes.w_plus, self.styles, self.rows, self.alpha).flatten(0, 1)  # [N * K, num_ws, w_dim]
        repeated = codes.map(lambda stored: stored.repeat_interleave(self.count, dim=0))  # N * K codes
        return mixed_codes(generator, repeated, w_plus, self.rows, self.alpha)
