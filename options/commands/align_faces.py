"""The settings of scripts/align_faces.py."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from options.results import Configured
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Side, Threads


@dataclass(frozen=True)
class AlignFaces(Configured):
    """Find the faces in a folder of photos and crop them as in FFHQ. Run the command again to continue."""

    data_path: Annotated[Path, tyro.conf.arg(aliases=["--data"])]
    """folder of photos, searched with its subfolders, or one photo; also by URL"""
    exp_dir: Path
    """folder for the aligned pictures, manifest.jsonl (with the corners of each crop in its photo) and failures.txt"""
    output_size: Annotated[Side, tyro.conf.arg(aliases=["--size"])] = 256
    """side of an aligned picture in pixels"""
    landmarks: Path | None = None
    """a .json, .csv or .npz file with the positions of the faces, as a box, 5 or 68 landmarks each; all faces in the
    file are aligned; psp/inference/landmarks.py describes the formats"""
    faces: Literal["largest", "all"] = "largest"
    """which faces of a photo to align"""
    detector: Literal["auto", "dlib", "mtcnn"] = "auto"
    """face detector; auto is dlib, and MTCNN for photos where dlib finds no face"""
    workers: Annotated[Threads, tyro.conf.arg(aliases=["--num_threads"])] = os.cpu_count() or 1
    """number of photos that are aligned at a time"""

    def __post_init__(self) -> None:
        if self.exp_dir.resolve() == self.data_path.resolve():
            raise UserError(
                "--exp_dir must be another folder than --data_path, because the pictures may have equal names"
            )
