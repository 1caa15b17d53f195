"""Everything that changes over training, as pure functions of cur_nimg (the number of real images shown so far)."""

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

Value = TypeVar("Value", int, float)


class Stage(NamedTuple):
    """The state of progressive growing."""

    resolution: int
    """resolution at which the networks are trained"""
    alpha: float
    """how far this resolution has faded in, from 0 to 1: 0 shows the previous resolution, enlarged"""


def stage(cur_nimg: int, img_resolution: int, grow_from: int | None, fade_nimg: int, stable_nimg: int) -> Stage:
    """Return the state of progressive growing (PGGAN, section 2).

    A resolution is trained for a while, then the next one fades in linearly.

    Args:
        cur_nimg: Real images shown so far.
        img_resolution: The last resolution.
        grow_from: The first resolution; None for no growing.
        fade_nimg: Images over which a resolution fades in.
        stable_nimg: Images for which a resolution is then trained before the next one fades in.
    """
    if grow_from is None:
        return Stage(img_resolution, 1.0)
    phase, nimg = divmod(cur_nimg, stable_nimg + fade_nimg)
    resolution = grow_from << min(phase, img_resolution.bit_length())  # the limit avoids huge numbers
    if resolution >= img_resolution or nimg < stable_nimg:
        return Stage(min(resolution, img_resolution), 1.0)
    return Stage(2 * resolution, (nimg - stable_nimg) / fade_nimg)


def at_resolution(values: Mapping[int, Value], resolution: int, otherwise: Value) -> Value:
    """Return the value of a setting at a resolution, or `otherwise` if `values` does not name the resolution."""
    return values.get(resolution, otherwise)


def ema_decay(cur_nimg: int, batch_size: int, half_life_nimg: float, rampup: float | None = 0.05) -> float:
    """Return the decay of the generator's moving average for one step.

    Early in training the half-life is at most `rampup` times cur_nimg, so that the average keeps up (StyleGAN2-ADA,
    appendix C).

    Args:
        cur_nimg: Real images shown so far.
        batch_size: Images of the step.
        half_life_nimg: Images after which half of the average is new.
        rampup: Share of cur_nimg; None for the full half-life from the beginning.
    """
    if rampup is not None:
        half_life_nimg = min(half_life_nimg, cur_nimg * rampup)
    return 0.5 ** (batch_size / max(half_life_nimg, 1e-8))


def is_due(cur_nimg: int, batch_size: int, interval: int) -> bool:
    """Return whether a lazy phase runs in the step at cur_nimg: in the first step, then once every `interval` steps."""
    return interval > 0 and (cur_nimg // batch_size) % interval == 0


def passed(cur_nimg: int, batch_size: int, interval_nimg: int) -> bool:
    """Return whether the step that ended at cur_nimg crossed a multiple of interval_nimg."""
    return interval_nimg > 0 and cur_nimg // interval_nimg > (cur_nimg - batch_size) // interval_nimg


def lazy_adam(learning_rate: float, betas: tuple[float, float], interval: int) -> tuple[float, tuple[float, float]]:
    """Return Adam's (learning rate, betas) for k training steps that are followed by one regularization step.

    With c = k / (k + 1) they are lr c and beta^c (StyleGAN2, appendix B, "lazy regularization").

    Args:
        learning_rate: The learning rate without regularization steps.
        betas: The betas without regularization steps.
        interval: k; 0 if there are no regularization steps.
    """
    if interval == 0:
        return learning_rate, betas
    c = interval / (interval + 1)
    return learning_rate * c, (betas[0] ** c, betas[1] ** c)


def r1_gamma(img_resolution: int, batch_size: int) -> float:
    """Return the heuristic weight of R1, 0.0002 * pixels / batch (StyleGAN2-ADA, `auto` configuration)."""
    return 0.0002 * img_resolution**2 / batch_size
