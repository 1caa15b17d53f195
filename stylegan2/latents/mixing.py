"""Style mixing (StyleGAN, section 3.1): choose rows of w+ by name or number, and replace them by those of styles."""

import re
from collections.abc import Sequence

from torch import Tensor

from stylegan2.runtime.errors import UserError

# StyleGAN, section 3.1, for the 18 rows of 1024 px: styles of 4-8 px are coarse (pose, shape of the face), of 16-32 px
# medium (features), from 64 px on fine (colours, texture). Other generators are divided in the same proportion.
ROWS = 18
BANDS = {"coarse": (0, 4), "medium": (4, 8), "fine": (8, 18)}


def mask_rows(mask: str, num_ws: int) -> list[int]:
    """Return the rows of w+ that a mask names, in order.

    Args:
        mask: Names and numbers separated by commas, such as coarse, medium, fine, 9 or 8-17.
        num_ws: Rows of the generator's w+.

    Raises:
        UserError: A word is not understood, or the generator has no such row.
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
        raise UserError(f"the latent mask must be {', '.join(BANDS)}, or rows such as 8-17 or 3,5, not {mask!r}")
    if last >= num_ws:
        raise UserError(
            f"the latent mask {mask!r} contains row {last}, but the rows of this generator are 0 to {num_ws - 1}"
        )
    return range(first, last + 1)


def mix(w_plus: Tensor, styles: Tensor, rows: Sequence[int], alpha: float = 1.0) -> Tensor:
    """Blend styles [K, w_dim] into some rows of w_plus [N, num_ws, w_dim]: [N, K, num_ws, w_dim]."""
    mixed = w_plus[:, None].repeat(1, len(styles), 1, 1)  # [N, K, num_ws, w_dim]
    for row in rows:
        mixed[:, :, row] = alpha * styles + (1 - alpha) * mixed[:, :, row]
    return mixed
