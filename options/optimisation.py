"""Flags of every command that optimises after encoding, so that outputs come closer to their sources."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from options.choices import PerceptualNetwork
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import NotNegative, Weight

if TYPE_CHECKING:
    from psp.inference.translate import Refinement


@dataclass(frozen=True)
class Optimisation:
    """What is optimised for each photo after encoding."""

    refine: NotNegative = 0
    """steps of W+ optimisation from the encoder's codes"""
    pivotal: NotNegative = 0
    """steps of tuning a copy of the generator around the codes, for each face its own; the paper takes 350"""
    locality: Weight = 0.0
    """weight of the regularization of --pivotal that keeps the neighbourhood as it was; published: 0.1"""
    perceptual: PerceptualNetwork = "auto"
    perceptual_weights: Path | None = None
    """file of that network's weights"""

    def check_task(self, inverts: bool) -> None:
        """Raise UserError if something is to be optimised for outputs that are not meant to be their sources."""
        if (self.refine or self.pivotal) and not inverts:
            raise UserError(
                "--refine and --pivotal bring an output close to its source: they need a model of the inversion task"
            )

    def refinement(self, seed: int) -> "Refinement | None":
        """Return what is optimised; None where nothing is."""
        if not self.refine and not self.pivotal:
            return None
        from psp.inference.translate import Refinement
        from psp.losses import build_losses
        from psp.optimize import LAMBDAS

        network = {"network": self.perceptual, "path": self.perceptual_weights}
        losses = build_losses(LAMBDAS, perceptual=network)
        return Refinement(losses, self.refine, self.pivotal, self.locality, seed)
