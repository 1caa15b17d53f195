"""Align a folder of photos: python scripts/align_faces.py --data_path FOLDER --exp_dir OUT [--landmarks FILE]"""

import _start  # noqa: F401

# isort: split

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from options.parse import run
from options.results import Configured, record_for
from psp.inference.aligned import MANIFEST, Aligner, Detected, Given, align_folder, summarize
from psp.inference.detect import SEARCH_SIDES, build_detector
from psp.inference.landmarks import read_landmarks
from psp.inference.names import list_photos
from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class AlignFaces(Configured):
    """Find the faces of a folder of photos and cut them out as FFHQ does. Run again, it goes on where it was."""

    data_path: Annotated[Path, tyro.conf.arg(aliases=["--data"])]
    """folder of photos, searched with its subfolders, or one photo"""
    exp_dir: Path
    """folder for the aligned pictures, manifest.jsonl (with each crop's corners in its photo) and failures.txt"""
    output_size: Annotated[int, tyro.conf.arg(aliases=["--size"])] = 256
    """pixels of an aligned picture's side"""
    landmarks: Path | None = None
    """a .json, .csv or .npz file that says where the faces are: a box, 5 or 68 landmarks each, all of which are used;
    the forms are described in psp/inference/landmarks.py"""
    faces: Literal["largest", "all"] = "largest"
    """which of the faces that are found in a photo"""
    detector: Literal["auto", "dlib", "mtcnn"] = "auto"
    """face detector; auto is dlib, and MTCNN for photos where dlib finds no face"""
    workers: Annotated[int, tyro.conf.arg(aliases=["--num_threads"])] = os.cpu_count() or 1
    """photos at a time"""

    def __post_init__(self) -> None:
        for name in ("output_size", "workers"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} is a number from 1 on, not {getattr(self, name)}")
        if self.exp_dir.resolve() == self.data_path.resolve():
            raise UserError("--exp_dir must be another folder than --data_path, as the pictures may have equal names")


def finder(o: AlignFaces, names: set[str]) -> Detected | Given:
    """Choose where faces come from: a detector, or the user's file, which must name one of the photos."""
    if o.landmarks is None:
        sides = SEARCH_SIDES[-1:] if o.faces == "all" else SEARCH_SIDES
        return Detected(build_detector(o.detector, sides), o.faces == "all", o.detector)
    given = read_landmarks(o.landmarks)
    if not names & given.keys():
        raise UserError(
            f"{str(o.landmarks)!r} names none of the photos: it begins with {next(iter(given))!r}, the photos with "
            f"{min(names)!r}"
        )
    if unknown := given.keys() - names:
        print(f"{len(unknown)} files that {o.landmarks} names are not among the photos, such as {min(unknown)}")
    return Given(given)


def main(o: AlignFaces) -> int:
    record = record_for(o, "align_faces", fixed=("data_path",), marks=(MANIFEST,))
    files = list_photos(o.data_path, [o.exp_dir])
    root = o.data_path if o.data_path.is_dir() else o.data_path.parent
    names = {file.relative_to(root).as_posix() for file in files}
    aligner = Aligner(root, o.output_size, finder(o, names))
    record.write()
    return summarize(align_folder(files, aligner, o.exp_dir, o.workers), o.exp_dir)


if __name__ == "__main__":
    run(main, AlignFaces)
