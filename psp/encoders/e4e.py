"""e4e (arXiv 2102.02766): codes close to W, as one w and a delta for each further row, which learn one after the other.

Keys and shapes are those of the pSp encoder: only head 0 means the same in both.
"""

from typing import ClassVar

from psp.encoders.encoder import ENCODERS
from psp.encoders.gradual import GradualStyleEncoder
from psp.encoders.heads import DeltaHeads


def unlocked_deltas(cur_step: int, start: int, every: int, deltas: int) -> int:
    """Return how many of the deltas learn in the step that starts at cur_step ("progressive training" in the paper).

    None before `start`, the first from there on, and one more after every further `every` steps (0: all at once).
    """
    if cur_step < start:
        return 0
    return min(deltas, 1 + (cur_step - start) // every) if every else deltas


class Deltas:
    """What makes an encoder one of e4e: the heads after the first give deltas.

    Attributes:
        unlocked: How many deltas learn; the training loop sets it in each step (`unlocked_deltas`). The codes of the
            model as it stands do not depend on it.
    """

    heads = DeltaHeads
    styles: DeltaHeads
    default_lambdas: ClassVar[dict[str, float]] = {"delta_norm": 2e-4}  # as published, like the next one
    default_w_discriminator_lambda = 0.1

    @property
    def unlocked(self) -> int:
        return self.styles.unlocked

    @unlocked.setter
    def unlocked(self, count: int) -> None:
        self.styles.unlocked = count


@ENCODERS.register("e4e")
class Encoder4Editing(Deltas, GradualStyleEncoder):
    """Trunk, pyramid and heads of `GradualStyleEncoder`; head 0 gives w, the others deltas."""
