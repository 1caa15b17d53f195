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

OF_PHOTOS = ("crop", "channels", "labels", "min_side", "max_aspect", "keep_duplicates")


"""What procedural faces leave no choice of."""


@dataclass(frozen=True)
class PrepareData(Configured):
    """Check, crop, resize and pack a folder of photos for training. What is left out is listed with its reason."""

    out: Annotated[Path, tyro.conf.arg(aliases=["--dest"])]
    """a new .zip file or folder; it appears when all is done, and nothing stays of a run that was stopped"""
    resolution: int
    """pixels of a side: a power of two"""
    data_path: Annotated[Path | None, tyro.conf.arg(aliases=["--data", "--source"])] = None
    """folder of photos, searched with its subfolders, a zip file of them, or WebDataset shards; also by URL"""
    synthetic: NotNegative = 0
    """a number of procedural faces in place of photos, rendered once so that no training waits for them"""
    shards: Annotated[NotNegative, tyro.conf.arg(aliases=["--shard_size"])] = 0
    """pictures in each WebDataset shard: the folder --out then holds 000000.tar and so on"""
    crop: Literal["center", "top", "none", "pad"] = "center"
    """the square that is kept: the middle of a photo, the upper end of tall ones, of square photos only, or the whole
    photo on a black square, whose place there padding.json records"""
    channels: Literal[1, 3, 4] = 3
    """1 gray, 3 RGB, 4 RGBA; others are converted, and their number is said"""
    part: Literal["all", "train", "held_out"] = "all"
    """all photos; or train, without a tenth of the people, who are held_out: a rule on names decides, folder/NAME,
    where NAME_neutral and NAME_smiling are one person. Procedural faces: people that no training sees for held_out"""
    labels: str | None = None
    """`folders`: the top subfolders are the classes; or a .csv file with lines `name,class`, or with several numbers a
    line; or a dataset.json, of which that of the photos themselves is found by this name. Photos without a label are
    left out"""
    min_side: Count | None = None
    """pixels of the square in the photo, at least; by default the resolution, so that nothing is enlarged"""
    max_aspect: Annotated[float, Interval(ge=1, le=math.inf)] = 3.0
    """leave out photos more than so many times as long as wide, or as wide as long; `inf` takes all"""
    keep_duplicates: bool = False
    """also photos that come out equal to an earlier one, pixel by pixel"""
    workers: Annotated[Threads, tyro.conf.arg(aliases=["--num_threads"])] = os.cpu_count() or 1
    """photos at a time, or processes that render"""

    def __post_init__(self) -> None:
        if (self.data_path is None) == (self.synthetic == 0):
            raise UserError("give either --data_path, your photos, or --synthetic, a number of procedural faces")
        check_sizes(self.resolution, self.channels, "skip")
        if self.shards and self.out.suffix.lower() in (".zip", ".tar"):
            raise UserError("--shards writes several tar files: give a folder with --out")
        if self.data_path is None:
            self._check_synthetic()
        elif self.out.resolve().is_relative_to(self.data_path.resolve()) and self.out.suffix.lower() != ".zip":
            raise UserError(
                "--out must not lie in --data_path, or a further run would take its own pictures for photos"
            )

    def _check_synthetic(self) -> None:
        if self.synthetic < 1:
            raise UserError(f"--synthetic is a number of faces from 1 on, not {self.synthetic}")
        changed = [f.name for f in fields(self) if f.name in OF_PHOTOS and getattr(self, f.name) != f.default]
        if changed:
            raise UserError(f"--{changed[0]} is for photos: leave it out beside --synthetic")
