"""The settings of scripts/train_segmenter.py."""

from dataclasses import dataclass
from pathlib import Path

from options.results import Results
from options.shared import Machine
from stylegan2.runtime.ranges import Count, Positive, Seed, Side, Workers


@dataclass(frozen=True)
class TrainSegmenter(Machine, Results):
    """Train the small segmenter that measures label-to-face models, on the exact labels of the procedural faces."""

    exp_dir: Path = Path("runs/segmenter")
    """folder for segmenter.safetensors, metrics.json and segmentation.png"""
    resolution: Side = 64
    """side of the images in pixels"""
    max_steps: Count = 1000
    """number of training steps"""
    batch_size: Count = 8
    """images per step"""
    learning_rate: Positive = 4e-3
    """learning rate at the start, which decreases to 0 along a cosine"""
    num_images: Count = 256
    """number of held-out faces for the evaluation"""
    workers: Workers = 1
    """number of processes that render images"""
    seed: Seed = 0
    """seed of the weights and of the order of the images"""
