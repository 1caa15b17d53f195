"""The settings of scripts/project.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from annotated_types import Interval

from options.results import Results
from options.shared import Machine, PerceptualNetwork, SynthesisPrecision
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import FASTEST, Count, NotNegative, Positive, Seed, Weight

if TYPE_CHECKING:
    from stylegan2.latents.project import Schedule


@dataclass(frozen=True)
class Project(Machine, Results):
    """Find the latents of pictures by optimisation, as in the StyleGAN2 paper, which is slow but very accurate."""

    target: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=["--targets", "--data_path"])]
    """images or folders of images, which should be cropped like the training images of the generator (faces by
    scripts/align_faces.py); if they are not square, the central square is used"""
    generator: Annotated[str, tyro.conf.arg(aliases=["--stylegan_weights"])] = "synthfaces64"
    """a shipped name, an experiment folder or a generator's file"""
    exp_dir: Path | None = None
    """folder for projected/, videos/, sheet.png, latents.npz and projections.json; by default runs/projected-TARGET"""
    space: Literal["w", "w_plus"] = "w"
    """w: one style for all layers, as in the paper; w_plus: one style per layer, which is closer to the picture but
    less suitable for editing"""
    steps: Count = 1000
    """steps of the optimisation"""
    learning_rate: Positive = 0.1
    """largest learning rate; the learning rate ramps up and down"""
    noise_weight: Weight = 1e5
    """weight of the regularization of the noise maps"""
    batch_size: Count = 8
    """number of images that are optimised at a time; the results do not depend on it"""
    perceptual: PerceptualNetwork = "auto"
    perceptual_weights: Path | None = None
    """file of the weights of the perceptual network"""
    precision: SynthesisPrecision = "fp32"
    frames: NotNegative = 60
    """frames of the animation of each optimisation; 0 writes no animations"""
    fps: Annotated[float, Interval(gt=0, le=FASTEST)] = 20.0
    """frames per second"""
    format: Literal["gif", "webp"] = "gif"
    """format of the animations"""
    seed: Seed = 0
    """seed of the noise"""

    def __post_init__(self) -> None:
        if not self.target:
            raise UserError("--target contains no image: give files or folders")

    def schedule(self) -> "Schedule":
        """Return the settings of the projector.

        Raises:
            UserError: A value is out of range.
        """
        from stylegan2.latents.project import Schedule

        return Schedule(self.steps, self.learning_rate, noise_weight=self.noise_weight, seed=self.seed)
