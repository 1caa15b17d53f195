"""Command line of scripts/evaluate.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from options.machine import Machine
from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class Evaluate(Machine):
    """Measure an encoder on held-out images, beside the mean face and W+ optimisation."""

    checkpoint_path: str = "synthfaces64_inversion"
    """a shipped name, an experiment folder or a checkpoint"""
    data: Annotated[str, tyro.conf.arg(aliases=["--data_path"])] = "synthetic"
    """a folder or zip of images, or `synthetic` for held-out procedural faces"""
    exp_dir: Path = Path("runs/evaluation")
    """gets metrics.json, table.md and comparison.png"""
    num_images: int = 512
    """how many images to measure on"""
    optimisation_steps: int = 500
    """steps of W+ optimisation; 0 leaves it out"""
    batch_size: int = 16
    """images a batch"""
    perceptual: str = "auto"
    """perceptual network: alex, vgg or squeeze (LPIPS), effnet, or auto"""
    identity: str = "auto"
    """identity network: arcface, dlib, facenet, or auto"""
    seed: int = 0
    """seed of what is random"""

    def __post_init__(self) -> None:
        for name in ("num_images", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if self.optimisation_steps < 0:
            raise UserError(f"--optimisation_steps must not be negative, but is {self.optimisation_steps}")
