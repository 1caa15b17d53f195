"""Command line of scripts/evaluate_generator.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from options.machine import Machine
from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class EvaluateGenerator(Machine):
    """How often a face detector finds a face in a generator's samples, and in the data treated the same way."""

    generator: Annotated[str, tyro.conf.arg(aliases=["--stylegan_weights"])] = "synthfaces64"
    """a shipped name, an experiment folder or a generator's file"""
    data: Annotated[str, tyro.conf.arg(aliases=["--data_path"])] = "synthetic"
    """a folder or zip of images, or `synthetic` for held-out procedural faces"""
    exp_dir: Path = Path("runs/generator_evaluation")
    """gets faces.json and samples.png"""
    num_images: int = 256
    """samples, and images of the data"""
    truncation_psi: float = 1.0
    """1 leaves the samples as they are; a smaller number truncates more"""
    seed: int = 0
    """seed of the samples"""

    def __post_init__(self) -> None:
        if self.num_images < 1:
            raise UserError(f"--num_images must be at least 1, not {self.num_images}")
