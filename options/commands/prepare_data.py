"""The settings of scripts/prepare_data.py."""

import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Interval

from options.results import Configured
from stylegan2.networks.sizes import check_sizes
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Count, NotNegative, Threads

MAX_FACES = 10_000_000  # procedural faces, which take weeks to render
OTHER_ARCHIVES = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
PHOTO_SETTINGS = ("crop", "channels", "labels", "min_side", "max_aspect", "keep_duplicates")
"""settings that apply to photos but not to procedural faces"""


@dataclass(frozen=True)
class PrepareData(Configured):
    """Check, crop, resize and pack a folder of photos for training. Omitted photos are listed with a reason."""

    out: Annotated[Path, tyro.conf.arg(aliases=["--dest"])]
    """a new .zip file or folder, which is complete or, after an interruption, does not exist"""
    resolution: int
    """side of the images in pixels: a power of two"""
    data_path: Annotated[Path | None, tyro.conf.arg(aliases=["--data", "--source"])] = None
    """folder of photos, searched with its subfolders, a zip file of them, or WebDataset shards; also by URL"""
    synthetic: Annotated[int, Interval(ge=0, le=MAX_FACES)] = 0
    """number of procedural faces to render instead of photos, so that no training has to render them"""
    shards: Annotated[NotNegative, tyro.conf.arg(aliases=["--shard_size"])] = 0
    """pictures per WebDataset shard; with shards, --out is a folder with 000000.tar and so on"""
    crop: Literal["center", "top", "none", "pad"] = "center"
    """the square that is kept: center, the middle of a photo; top, the upper end of tall photos; none, only photos that
    are square; pad, the whole photo on a black square, with its position recorded in padding.json"""
    channels: Literal[1, 3, 4] = 3
    """1 gray, 3 RGB, 4 RGBA; other photos are converted, and their number is reported"""
    part: Literal["all", "train", "held_out"] = "all"
    """all photos; train, without a tenth of the people; or held_out, only these people. The name of a file,
    folder/NAME, determines the person: NAME_neutral and NAME_smiling are one person. Procedural faces: held_out are
    people that do not occur in training"""
    labels: str | None = None
    """`folders`, if the top subfolders are the classes; a .csv file with lines `name,class` or with several numbers per
    line; or a dataset.json, where the name dataset.json also means the one among the photos. Photos without a label are
    left out"""
    min_side: Count | None = None
    """smallest side of the square in the photo, in pixels; by default the resolution, so that nothing is enlarged"""
    max_aspect: Annotated[float, Interval(ge=1, le=math.inf)] = 3.0
    """largest ratio of the longer to the shorter side of a photo; others are left out; `inf` keeps all"""
    keep_duplicates: bool = False
    """also keep photos whose result equals an earlier one, pixel by pixel"""
    workers: Annotated[Threads, tyro.conf.arg(aliases=["--num_threads"])] = os.cpu_count() or 1
    """number of photos that are processed at a time, or of processes that render faces"""

    def __post_init__(self) -> None:
        if (self.data_path is None) == (self.synthetic == 0):
            raise UserError("give either --data_path, your photos, or --synthetic, a number of procedural faces")
        check_sizes(self.resolution, self.channels, "skip")
        if self.shards and self.out.suffix.lower() in (".zip", ".tar"):
            raise UserError("--shards writes several tar files: give a folder with --out")
        if self.out.suffix.lower() in OTHER_ARCHIVES:
            raise UserError(
                f"--out cannot be {str(self.out)!r}: give a .zip file or a folder; --shards N writes tar files"
            )
        if self.data_path is None:
            self._check_synthetic()
        elif self.out.resolve().is_relative_to(self.data_path.resolve()) and self.out.suffix.lower() != ".zip":
            raise UserError(
                "--out must not be inside --data_path, because another run would then read its own pictures"
            )

    def _check_synthetic(self) -> None:
        if self.synthetic < 1:
            raise UserError(f"--synthetic must be a number of faces from 1 on, not {self.synthetic}")
        changed = [f.name for f in fields(self) if f.name in PHOTO_SETTINGS and getattr(self, f.name) != f.default]
        if changed:
            raise UserError(f"--{changed[0]} is for photos: leave it out with --synthetic")
