"""Pack photos for training: python scripts/prepare_data.py --data_path FOLDER --out FILE.zip --resolution 256"""

import _start  # noqa: F401

# isort: split

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from datasets.folder import ImageFiles
from datasets.labels import read_labels
from datasets.people import keep_part
from datasets.prepare import Recipe, prepare_folder, summarize
from options.parse import run
from stylegan2.networks.sizes import check_sizes
from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class PrepareData:
    """Check, crop, resize and pack a folder of photos for training. What is left out is listed with its reason."""

    data_path: Annotated[Path, tyro.conf.arg(aliases=["--data", "--source"])]
    """folder of photos, searched with its subfolders, or a zip file of them"""
    out: Annotated[Path, tyro.conf.arg(aliases=["--dest"])]
    """a new .zip file or folder; it appears when all is done, and nothing stays of a run that was stopped"""
    resolution: int
    """pixels of a side: a power of two"""
    crop: Literal["center", "top", "none"] = "center"
    """the square that is kept: the middle of a photo, the upper end of tall ones, or of square photos only"""
    channels: Literal[1, 3, 4] = 3
    """1 gray, 3 RGB, 4 RGBA; others are converted, and their number is said"""
    part: Literal["all", "train", "held_out"] = "all"
    """all photos; or train, without a tenth of the people, who are held_out: a rule on names decides, folder/NAME,
    where NAME_neutral and NAME_smiling are one person"""
    labels: str | None = None
    """`folders`: the top subfolders are the classes; or a .csv file with lines `name,class`, or a dataset.json. Photos
    without a class are left out"""
    min_side: int | None = None
    """pixels of the square in the photo, at least; by default the resolution, so that nothing is enlarged"""
    max_aspect: float = 3.0
    """leave out photos more than so many times as long as wide, or as wide as long; `inf` takes all"""
    keep_duplicates: bool = False
    """also photos that come out equal to an earlier one, pixel by pixel"""
    workers: Annotated[int, tyro.conf.arg(aliases=["--num_threads"])] = os.cpu_count() or 1
    """photos at a time"""

    def __post_init__(self) -> None:
        check_sizes(self.resolution, self.channels, "skip")
        if self.workers < 1:
            raise UserError(f"--workers is a number from 1 on, not {self.workers}")
        if self.min_side is not None and self.min_side < 1:
            raise UserError(f"--min_side is a number from 1 on, not {self.min_side}")
        if not self.max_aspect >= 1:
            raise UserError(f"--max_aspect is a number from 1 on, not {self.max_aspect}")
        if self.out.resolve().is_relative_to(self.data_path.resolve()) and self.out.suffix.lower() != ".zip":
            raise UserError(
                "--out must not lie in --data_path, or a further run would take its own pictures for photos"
            )


def main(o: PrepareData) -> int:
    files = ImageFiles(o.data_path)
    keep_part(files, o.part)
    names = [files.relative(index) for index in range(len(files))]
    labels = None if o.labels is None else read_labels(o.labels, names)
    min_side = o.resolution if o.min_side is None else o.min_side
    recipe = Recipe(o.resolution, o.channels, o.crop, min_side, o.max_aspect)
    return summarize(prepare_folder(files, o.out, recipe, labels, o.keep_duplicates, o.workers), o.out, recipe)


if __name__ == "__main__":
    run(main, PrepareData)
