"""The settings of scripts/evaluate.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from options.results import Results
from options.shared import IdentityNetwork, Machine, PerceptualNetwork, Precision
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Count, NotNegative, Seed

if TYPE_CHECKING:
    from psp.mixing import Mixing


@dataclass(frozen=True)
class Evaluate(Machine, Results):
    """Measure encoders on held-out images.

    Outputs are compared with the true targets, for some tasks separately by angle, factor or kind of mask. Measurements
    are stored, so that the same command can be run again after an interruption or with a further model.
    """

    checkpoint_path: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--checkpoint_paths"])] = (
        "synthfaces64_inversion",
    )
    """names of shipped models, experiment folders or checkpoints of one task; NAME=PATH names a row of the table"""
    data: Annotated[str, tyro.conf.arg(aliases=["--data_path"])] = "synthetic"
    """a folder or zip of images, or `synthetic` for held-out procedural faces"""
    source_data: str | None = None
    """a folder or zip of the source of each image of --data, matched by name"""
    exp_dir: Path | None = None
    """folder for metrics.json, table.md, comparison.png and, in per_image/, the values of each image; by default
    runs/evaluation-MODEL, where MODEL is the first model"""
    num_images: Count | None = None
    """number of images in each group; by default 512, or all if there are fewer"""
    optimisation_steps: NotNegative | None = None
    """steps of W+ optimisation from the mean face towards the true image, which shows what the generator can achieve;
    by default 500 for inversion and 0 (no optimisation) for other tasks"""
    refine_steps: NotNegative | None = None
    """steps of W+ optimisation from the codes of the first encoder; by default 100 for inversion and 0 for other
    tasks"""
    n_outputs: NotNegative = 5
    """segmentation, sketch, super-resolution: outputs per source whose diversity is measured; 0 skips this"""
    latent_mask: str = "fine"
    """rows of w+ in which these outputs differ"""
    batch_size: Count = 16
    """images per batch"""
    precision: Precision = "fp32"
    """precision of the evaluated networks (auto: bf16 on a GPU); metrics are always computed in fp32"""
    perceptual: PerceptualNetwork = "auto"
    identity: IdentityNetwork = "auto"
    segmenter: str | None = None
    """segmentation: a file of train_segmenter.py; by default the shipped segmenter, for procedural faces only"""
    seed: Seed = 0
    """seed of everything random"""

    def __post_init__(self) -> None:
        if self.n_outputs == 1:
            raise UserError(f"--n_outputs must be 0 or at least 2, not {self.n_outputs}")
        if not self.checkpoint_path:
            raise UserError("--checkpoint_path needs at least one model")

    def models(self) -> list[tuple[str | None, str]]:
        """Return (name of the row or None, path) of each model."""
        return [_named(entry) for entry in self.checkpoint_path]

    def steps(self, itself: bool) -> tuple[int, int]:
        """Return the steps of optimisation and of refinement.

        Args:
            itself: Whether the source itself is the target, as in inversion.
        """
        optimisation, refinement = (500, 100) if itself else (0, 0)
        return (
            optimisation if self.optimisation_steps is None else self.optimisation_steps,
            refinement if self.refine_steps is None else self.refine_steps,
        )

    def mixing(self) -> "Mixing":
        """Return the settings of style mixing for several outputs of a source."""
        from psp.mixing import Mixing

        return Mixing(self.latent_mask, self.n_outputs, seed=self.seed)


def _named(entry: str) -> tuple[str | None, str]:
    """Split NAME=PATH, unless there is a file or folder of the whole name."""
    name, equals, path = entry.partition("=")
    if not equals or Path(entry).exists():
        return None, entry
    if not name or not path:
        raise UserError(f"--checkpoint_path must be paths or NAME=PATH, not {entry!r}")
    return name, path
