"""e4e (arXiv 2102.02766): codes close to W, as one w and a delta for each further row, which learn one after the other.

Keys and shapes are those of the pSp encoder: only head 0 means the same in both.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from psp.encoders.gradual import GradualStyleEncoder, head_level
from psp.encoders.light import LIGHT_HEADS, only_sizes
from psp.encoders.registry import register_encoder


def unlocked_deltas(cur_step: int, start: int, every: int, deltas: int) -> int:
    """How many of the deltas learn in the step that starts at cur_step ("progressive training" in the paper).

    None before `start`, the first from there on, and one more after every further `every` steps (0: all at once).
    """
    if cur_step < start:
        return 0
    return min(deltas, 1 + (cur_step - start) // every) if every else deltas


def delta_codes(heads: nn.ModuleList, features: Sequence[Tensor], unlocked: int) -> Tensor:
    """w_0 = head_0, w_i = w_0 + delta_i: features, one [N, C, s, s] a head -> codes [N, num_ws, w_dim].

    Deltas beyond the first `unlocked` keep still: they count, and no gradient reaches them.
    """
    w = heads[0](features[0])  # [N, w_dim]
    codes = [w]
    for row in range(1, len(heads)):
        with torch.set_grad_enabled(torch.is_grad_enabled() and row <= unlocked):
            delta = heads[row](features[row])  # [N, w_dim]
        codes.append(w + delta)
    return torch.stack(codes, dim=1)  # [N, num_ws, w_dim]


@torch.no_grad()
def zero_deltas(heads: nn.ModuleList) -> None:
    """Fresh deltas are exactly 0, so that a model whose deltas have not all had their turn is right as it stands."""
    for head in list(heads)[1:]:
        head.linear.weight.zero_()  # type: ignore[union-attr, operator]


def has_deltas(encoder: nn.Module) -> bool:
    return hasattr(encoder, "unlocked")


def delta_lambdas(encoder: nn.Module) -> dict[str, float]:
    """{loss: its published weight} of what keeps deltas small, for an encoder that has them."""
    return {"delta_norm": 2e-4} if has_deltas(encoder) else {}


@register_encoder("e4e")
class Encoder4Editing(GradualStyleEncoder):
    """Trunk, pyramid and heads of `GradualStyleEncoder`; head 0 gives w, the others deltas.

    Attributes:
        unlocked: how many deltas learn; the training loop sets it in each step (`unlocked_deltas`). Codes of the
            model as it stands do not depend on it.
    """

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        zero_deltas(self.styles)
        self.unlocked = self.num_ws - 1

    def forward(self, images: Tensor) -> Tensor:
        """images [N, input_channels, S, S] in [-1, 1] -> offsets to the latent average [N, num_ws, w_dim]."""
        levels = self.pyramid(self.checked(images))
        features = [levels[head_level(row)] for row in range(self.num_ws)]
        return delta_codes(self.styles, features, self.unlocked)


@register_encoder("light_e4e")
class LightEncoder4Editing(Encoder4Editing):
    """`Encoder4Editing` in the size of the light encoder."""

    def __init__(self, num_ws: int, w_dim: int = 512, input_channels: int = 3, input_size: int = 64) -> None:
        super().__init__(num_ws, w_dim, input_channels, input_size, **LIGHT_HEADS)
        self.config = only_sizes(self.config)
