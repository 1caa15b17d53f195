"""Combine latents: mix rows of w+, and interpolate between latents (StyleGAN, sections 3.1 and 4.1).

Rows are chosen by name or number. Paths follow great circles in Z and straight lines in W.
"""

import re
from collections.abc import Callable, Sequence

import torch
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
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
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


def lerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Interpolate linearly, a + t (b - a), with a, b [..., D] and t a number or [..., 1]: [..., D]."""
    return a + t * (b - a)


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Interpolate along the great circle from a to b at constant speed (Shoemake 1985), and the lengths linearly.

    A Gaussian z lies close to a sphere, and a straight line would lead through the inside of the sphere. Opposite
    vectors do not determine a great circle: the result is then finite but meaningless.

    Args:
        a: [..., D], not zero.
        b: [..., D], not zero.
        t: Position, a number or [..., 1].
    """
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)  # [..., 1]
    unit_a, unit_b = a / length_a, b / length_b
    # Kahan's formula is exact for small angles too, unlike the arc cosine of a dot product.
    angle = 2 * torch.atan2((unit_a - unit_b).norm(dim=-1, keepdim=True), (unit_a + unit_b).norm(dim=-1, keepdim=True))
    sine = angle.sin()  # [..., 1]
    near = sine < torch.finfo(a.dtype).eps ** 0.5
    safe = torch.where(near, 1.0, sine)
    weight_a = torch.where(near, 1 - t, ((1 - t) * angle).sin() / safe)
    weight_b = torch.where(near, t, (t * angle).sin() / safe)
    return lerp(length_a, length_b, t) * (weight_a * unit_a + weight_b * unit_b)


def path(
    keys: Tensor, steps: int, between: Callable[[Tensor, Tensor, Tensor], Tensor] = lerp, closed: bool = True
) -> Tensor:
    """List latents on the way from key to key.

    Args:
        keys: [K, D].
        steps: Latents from one key to the next, of which the first is the key itself.
        between: `lerp` or `slerp`.
        closed: Whether the path returns to the first key; the last latent is one step before it, so that the path
            repeats smoothly.

    Returns:
        [K * steps, D], or [(K - 1) * steps + 1, D] for an open path, which ends with the last key.
    """
    t = torch.arange(steps, dtype=keys.dtype, device=keys.device)[:, None] / steps  # [steps, 1]
    following = keys.roll(-1, 0)
    count = len(keys) if closed else len(keys) - 1
    parts = [
        between(a.expand(steps, -1), b.expand(steps, -1), t)  # [steps, D]
        for a, b in zip(keys[:count], following[:count], strict=True)
    ]
    return torch.cat(parts if closed else [*parts, keys[-1:]])
