"""The settings of scripts/project.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from annotated_types import Interval

from options.choices import PerceptualNetwork, SynthesisPrecision
from options.machine import Machine
from options.results import Results
from stylegan2.runtime.choices import FASTEST
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Count, NotNegative, Positive, Seed, Weight

if TYPE_CHECKING:
    from stylegan2.latents.project import Schedule


@dataclass(frozen=True)
class Project(Machine, Results):
    """Find the latents of pictures by optimisation, as the StyleGAN2 paper does: slow, and about the best there is."""

    target: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=["--targets", "--data_path"])]
    """images, or folders of images, cropped as the generator's own are; of others the centre square is taken. Photos of
    faces are cropped by scripts/align_faces.py"""
    generator: Annotated[str, tyro.conf.arg(aliases=["--stylegan_weights"])] = "synthfaces64"
    """a shipped name, an experiment folder or a generator's file"""
    exp_dir: Path | None = None
    """gets projected/, videos/, sheet.png, latents.npz and projections.json; by default runs/projected-TARGET"""
    space: Literal["w", "w_plus"] = "w"
    """w: one style for all layers, as in the paper; w_plus: one for each, closer to the picture and worse to edit"""
    steps: Count = 1000
    """of the optimisation"""
    learning_rate: Positive = 0.1
    """the largest; it ramps up and down"""
    noise_weight: Weight = 1e5
    """weight of the regularization of the noise maps"""
    batch_size: Count = 8
    """images optimised at a time; the results do not depend on it"""
    perceptual: PerceptualNetwork = "auto"
    perceptual_weights: Path | None = None
    """file of that network's weights"""
    precision: SynthesisPrecision = "fp32"
    frames: NotNegative = 60
    """of the moving picture of each optimisation; 0 writes none"""
    fps: Annotated[float, Interval(gt=0, le=FASTEST)] = 20.0
    """frames a second"""
    format: Literal["gif", "webp"] = "gif"
    """of the moving pictures"""
    seed: Seed = 0
    """of the noise"""

    def __post_init__(self) -> None:
        if not self.target:
            raise UserError("--target names no image: give files or folders")

    def schedule(self) -> "Schedule":
        """Return the projector's numbers. UserError: one is out of its range."""
        from stylegan2.latents.project import Schedule

        return Schedule(self.steps, self.learning_rate, noise_weight=self.noise_weight, seed=self.seed)
