"""The settings of scripts/demo.py."""

from dataclasses import dataclass
from pathlib import Path

from stylegan2.runtime.ranges import Count, Seed


@dataclass(frozen=True)
class Demo:
    """Train a small encoder for a few minutes, then translate sample photos with the shipped one."""

    exp_dir: Path = Path("runs/demo")
    """gets everything the demo makes"""
    max_steps: Count = 400
    """training steps"""
    num_images: Count = 64
    """held-out faces to measure on"""
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    seed: Seed = 0
    """seed of everything random"""
