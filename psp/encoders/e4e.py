"""e4e (arXiv 2102.02766): codes close to W, as one w and a delta for each further row; the deltas learn in turn.

Names and shapes of the parameters are those of the pSp encoder, but only head 0 has the same meaning in both.
"""

from typing import ClassVar

from psp.encoders.encoder import ENCODERS
from psp.encoders.gradual import GradualStyleEncoder
from psp.encoders.heads import DeltaHeads


def unlocked_deltas(cur_step: int, start: int, every: int, deltas: int) -> int:
    """Return how many deltas learn in the step at cur_step ("progressive training" in the paper).

    No delta learns before step `start`; the first learns from there on, and one more after every `every` steps, or all
    at once if `every` is 0.
    """
    if cur_step < start:
        return 0
    return min(deltas, 1 + (cur_step - start) // every) if every else deltas


class Deltas:
    """A mixin that turns an encoder into one of e4e, in which the heads after the first give deltas.

    Attributes:
        unlocked: How many deltas learn, which the training loop sets in each step (`unlocked_deltas`). The codes do not
            depend on it.
    """

    heads = DeltaHeads
    styles: DeltaHeads
    default_lambdas: ClassVar[dict[str, float]] = {"delta_norm": 2e-4}  # as published, like the next value
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
