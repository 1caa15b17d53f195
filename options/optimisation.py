"""Flags of all commands that optimise after encoding, to bring outputs closer to their sources."""

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
    """Settings of the optimisation after encoding."""

    refine: NotNegative = 0
    """steps of W+ optimisation that start from the encoder's codes"""
    pivotal: NotNegative = 0
    """steps of pivotal tuning (PTI), which tunes a copy of the generator for each face; 350 in the paper"""
    locality: Weight = 0.0
    """weight of the locality regularization of --pivotal, which preserves images of nearby codes; 0.1 in the paper"""
    perceptual: PerceptualNetwork = "auto"
    perceptual_weights: Path | None = None
    """file of the weights of the perceptual network"""

    def check_task(self, inverts: bool) -> None:
        """Raise a UserError if optimisation is asked for, but outputs are not meant to equal their sources."""
        if (self.refine or self.pivotal) and not inverts:
            raise UserError(
                "--refine and --pivotal make an output more similar to its source, so they need a model "
                "of the inversion task"
            )

    def refinement(self, seed: int) -> "Refinement | None":
        """Build the refinement, or return None if no optimisation is asked for.

        Args:
            seed: Seed of the locality regularization.
        """
        if not self.refine and not self.pivotal:
            return None
        from psp.inference.translate import Refinement
        from psp.losses import build_losses
        from psp.optimize import LAMBDAS

        network = {"network": self.perceptual, "path": self.perceptual_weights}
        losses = build_losses(LAMBDAS, perceptual=network)
        return Refinement(losses, self.refine, self.pivotal, self.locality, seed)
