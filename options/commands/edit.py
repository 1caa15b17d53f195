"""The settings of scripts/edit.py."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from options.lists import parse_edits, parse_numbers, parse_seeds
from options.results import Results
from options.shared import Machine, Optimisation, Precision
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Seed

CLIPS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


@dataclass(frozen=True)
class PhotoSettings:
    """Settings for editing a photo or a clip."""

    direction: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """for a photo or clip: NAME=STRENGTH such as smile=+2, in standard deviations of W along the direction; several
    are separated by commas"""
    out: Path | None = None
    """the picture to write, or the .mp4, .mov or .mkv file; by default SOURCE_edited"""
    paste_back: bool = False
    """paste the face back into the photo; in a clip this is always done"""
    align: bool = True
    """find faces and align them as in FFHQ; --no_align is for a picture that is aligned already"""
    faces: Literal["largest", "all"] = "largest"
    """which faces of a photo to edit"""
    detector: Literal["auto", "dlib", "mtcnn"] = "auto"
    """face detector; auto is dlib, and MTCNN for photos where dlib finds no face"""
    seed: Seed = 0
    """seed of the locality regularization (--locality)"""
    precision: Precision = "auto"
    """auto: bf16 on a GPU and fp32 elsewhere"""

    def strengths(self) -> dict[str, float]:
        """Return {direction: strength}.

        Raises:
            UserError: The edits have another form than NAME=STRENGTH.
        """
        return parse_edits(self.direction)


@dataclass(frozen=True)
class Edit(Machine, Results):
    """Edit a photo or a clip from end to end, or move samples or the codes of photos step by step.

    `psp edit me.jpg --direction smile=+2 --pivotal 350 --paste_back --out smiling.jpg` inverts the face, moves its
    codes along the direction and pastes the result. Without a photo, a strip of pictures is written for each direction.
    """

    source: tyro.conf.Positional[Path | None] = None
    """a photo, or a clip (.mp4, .mov, ...; its sound is kept)"""
    directions: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """files of scripts/directions.py, InterFaceGAN (.npy, .pt), GANSpace (.pkl, .pt, .npz) or SeFa (.pt), or names of
    shipped directions; by default all shipped directions of the generator"""
    generator: Annotated[str | None, tyro.conf.arg(aliases=["--stylegan_weights", "--checkpoint_path"])] = None
    """for a photo or clip: a pSp model, by default portraits64_inversion; without one: a pSp model or the name, folder
    or file of a generator, by default the shipped generator for which the directions were found"""
    exp_dir: Path | None = None
    """folder for DIRECTION.png and for the single pictures in DIRECTION/; by default runs/edited-NAME, where NAME is
    that of the file of codes or else of directions"""
    seeds: str = "0-7"
    """samples to edit: numbers and ranges such as 0-63 or 1,5,9-12"""
    truncation_psi: float = 0.7
    """truncation psi of the samples"""
    latents: Path | None = None
    """codes to edit instead of samples: a latents.npz of inference or of scripts/project.py"""
    photos: str = "all"
    """with --latents: names in that file, separated by commas, or all"""
    names: str = "all"
    """names of the directions to move along, separated by commas, or all"""
    strengths: str = "-3,-2,-1,0,1,2,3"
    """strengths in standard deviations of W along the direction; 0 gives the unedited picture"""
    rows: str = ""
    """rows of w+ to move, instead of those in the file: coarse, medium, fine, or numbers such as 0-5"""
    photo_settings: tyro.conf.OmitArgPrefixes[PhotoSettings] = field(default_factory=PhotoSettings)
    optimisation: tyro.conf.OmitArgPrefixes[Optimisation] = field(default_factory=Optimisation)

    def __post_init__(self) -> None:
        self.sample_seeds()
        self.steps()
        photo = self.photo_settings
        if self.source is None and (photo.direction or photo.out is not None):
            raise UserError("--direction and --out are for a photo or a clip: give one")
        if self.source is not None and not photo.direction:
            raise UserError("give an edit: --direction NAME=STRENGTH, such as smile=+2")
        if self.source is not None and self.latents is not None:
            raise UserError("a photo and --latents cannot be edited together: give only one of them")
        if photo.direction:
            photo.strengths()
        if photo.paste_back and not photo.align:
            raise UserError("--paste_back needs a face that is cut out of the photo: leave out --no_align")
        if photo.faces == "all" and not (photo.paste_back or self.is_clip):
            raise UserError("several faces make one picture only if they are pasted back: give --paste_back too")
        if self.latents is None and self.photos != "all":
            raise UserError("--photos selects names in a file of codes: give --latents too")

    @property
    def is_clip(self) -> bool:
        """Return whether the source is a video, according to its suffix."""
        return self.source is not None and self.source.suffix.lower() in CLIPS

    def sample_seeds(self) -> list[int]:
        """Return the seeds of the samples."""
        return parse_seeds(self.seeds)

    def steps(self) -> list[float]:
        """Return the strengths of the edits."""
        return parse_numbers(self.strengths, "--strengths")

    def titles(self) -> list[str]:
        """Return the strengths as texts, for titles and file names."""
        return [f"{step:+g}" for step in self.steps()]
