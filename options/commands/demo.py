"""The settings of scripts/demo.py."""

from dataclasses import dataclass
from pathlib import Path

from stylegan2.runtime.ranges import Count, Seed


@dataclass(frozen=True)
class Demo:
    """Invert photographs with the shipped models and edit, complete and draw them, then train a small encoder."""

    exp_dir: Path = Path("runs/demo")
    """folder for all results of the demo"""
    photos: Path | None = None
    """a folder of photographs; by default a shipped photograph, and portraits of people who do not exist"""
    max_steps: Count = 200
    """number of training steps"""
    num_images: Count = 64
    """number of held-out faces for the evaluation"""
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    seed: Seed = 0
    """seed of everything random"""
