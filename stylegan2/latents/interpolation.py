"""Interpolate latents: great circles in Z, straight lines in W (StyleGAN, section 4.1), and paths through several."""

from collections.abc import Callable

import torch
from torch import Tensor


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
