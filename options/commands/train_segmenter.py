"""The settings of scripts/train_segmenter.py."""

from dataclasses import dataclass
from pathlib import Path

from options.machine import Machine
from options.results import Results
from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class TrainSegmenter(Machine, Results):
    """Train the small segmenter that measures label-to-face models, on the exact labels of the procedural faces."""

    exp_dir: Path = Path("runs/segmenter")
    """gets segmenter.safetensors, metrics.json and segmentation.png"""
    resolution: int = 64
    """side of the images in pixels"""
    max_steps: int = 1000
    """training steps"""
    batch_size: int = 8
    """images a step"""
    learning_rate: float = 4e-3
    """at the start; it falls to 0 along a cosine"""
    num_images: int = 256
    """held-out faces to measure on"""
    workers: int = 1
    """processes that render images"""
    seed: int = 0
    """seed of the weights and of the order of the images"""

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "num_images"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise UserError(f"--learning_rate must be positive, not {self.learning_rate}")
        if self.workers < 0:
            raise UserError(f"--workers must not be negative, but is {self.workers}")
