"""Style mixing: rows of w+ from random styles, so that a source gives many outputs (arXiv 2008.00951, section 4).

A masked row of output k is alpha * w_k + (1 - alpha) * w+, with w_k the mapped z of that output, the same in all rows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.randomness import derive_seed, seeded_normal

# StyleGAN, section 3.1, for the 18 rows of 1024 px: styles of 4-8 px are coarse (pose, shape of the face), of 16-32 px
# medium (features), from 64 px on fine (colours, texture). Other generators are divided in the same proportion.
ROWS = 18
BANDS = {"coarse": (0, 4), "medium": (4, 8), "fine": (8, 18)}


@dataclass(frozen=True)
class Mixing:
    """How many outputs a source gives, and what is random in them.

    Raises UserError: a number out of its range.
    """

    mask: str = "fine"
    """rows of w+ that are replaced; see `mask_rows`"""
    outputs: int = 5
    """for each source"""
    alpha: float = 1.0
    """share of the random style in the masked rows, from 0 to 1"""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.outputs < 1:
            raise UserError(f"the number of outputs for each source is 1 or more, not {self.outputs}")
        if not 0 <= self.alpha <= 1:
            raise UserError(f"the share of the random style is a number from 0 to 1, not {self.alpha}")


def mask_rows(mask: str, num_ws: int) -> list[int]:
    """The rows of w+ that a mask names, in order.

    Args:
        mask: names and numbers separated by commas: coarse, medium, fine, 9, 8-17.
        num_ws: rows of the generator.

    Raises:
        UserError: a word is none of these, or a row beyond the generator's.
    """
    rows: set[int] = set()
    for word in mask.replace(" ", "").lower().split(","):
        rows.update(_band(word, num_ws) if word in BANDS else _numbers(word, mask, num_ws))
    return sorted(rows)


def _band(name: str, num_ws: int) -> range:
    first, last = (round(edge * num_ws / ROWS) for edge in BANDS[name])
    return range(first, last)


def _numbers(word: str, mask: str, num_ws: int) -> range:
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if first > last:
        raise UserError(
            f"the latent mask {mask!r} is not understood: give {', '.join(BANDS)}, or rows such as 8-17 or 3,5"
        )
    if last >= num_ws:
        raise UserError(
            f"the latent mask {mask!r} names row {last}, but the rows of this generator are 0 to {num_ws - 1}"
        )
    return range(first, last + 1)


@torch.no_grad()
def random_styles(generator: Any, count: int, seed: int) -> Tensor:
    """Mapped z ~ N(0, 1), [count, w_dim]; number k depends on the seed and on k alone."""
    z = torch.cat([seeded_normal((1, generator.z_dim), derive_seed(seed, k)) for k in range(count)])  # [count, z_dim]
    return generator.mapping(z.to(generator.w_avg.device))[:, 0]  # [count, w_dim]


def mix(w_plus: Tensor, styles: Tensor, rows: Sequence[int], alpha: float = 1.0) -> Tensor:
    """w_plus [N, num_ws, w_dim] with styles [K, w_dim] blended into some rows: [N, K, num_ws, w_dim]."""
    mixed = w_plus[:, None].repeat(1, len(styles), 1, 1)  # [N, K, num_ws, w_dim]
    for row in rows:
        mixed[:, :, row] = alpha * styles + (1 - alpha) * mixed[:, :, row]
    return mixed


@dataclass(frozen=True)
class Variants:
    """The random styles that every source is mixed with."""

    count: int
    styles: Tensor | None = None
    """[K, w_dim], or None to leave the codes as they are"""
    rows: tuple[int, ...] = ()
    alpha: float = 1.0

    @classmethod
    def draw(cls, generator: Any, mixing: Mixing | None) -> "Variants":
        if mixing is None:
            return cls(1)
        rows = tuple(mask_rows(mixing.mask, generator.num_ws))
        styles = random_styles(generator, mixing.outputs, mixing.seed)  # [K, w_dim]
        return cls(mixing.outputs, styles, rows, mixing.alpha)

    def of(self, w_plus: Tensor) -> Tensor:
        """[N, num_ws, w_dim] -> [N, K, num_ws, w_dim]."""
        return w_plus[:, None] if self.styles is None else mix(w_plus, self.styles, self.rows, self.alpha)
