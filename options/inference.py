"""Command line of scripts/inference.py."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class Inference:
    """Translate a folder of photos: faces are found, aligned, encoded and rendered again."""

    data_path: Annotated[Path, tyro.conf.arg(aliases=["--data"])]
    """folder of images, searched with its subfolders, or one image"""
    exp_dir: Path
    """folder for the results"""
    checkpoint_path: str = "synthfaces64_inversion"
    """a checkpoint, an experiment folder (its newest checkpoint), a published pSp file, or a shipped model's name"""
    align: bool = True
    """find faces and align them as FFHQ does; --no_align for pictures that are aligned already, or of no faces"""
    faces: Literal["largest", "all"] = "largest"
    """which faces of a photo"""
    detector: Literal["auto", "dlib", "mtcnn"] = "auto"
    """face detector; auto is dlib, and MTCNN for photos where dlib finds no face"""
    couple_outputs: bool = True
    """write inference_coupled/ too: aligned source and output side by side"""
    test_batch_size: Annotated[int, tyro.conf.arg(aliases=["--batch_size"])] = 8
    """images translated at a time"""
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    workers: int = min(4, os.cpu_count() or 1)
    """threads that read and align photos; the results do not depend on it"""
    noise_mode: Literal["const", "random", "none"] = "const"
    """noise of the generator: the stored maps, fresh draws or none"""
    seed: int = 0
    """seed of the fresh draws of --noise_mode random"""

    def __post_init__(self) -> None:
        for name in ("test_batch_size", "workers"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} is a number from 1 on, not {getattr(self, name)}")
