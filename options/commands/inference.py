"""The settings of scripts/inference.py."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from annotated_types import Interval

from options.results import Results
from options.shared import Machine, Optimisation, Precision
from options.tasks import task_settings
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Count, Seed, Share, Threads

if TYPE_CHECKING:
    from psp.mixing import Mixing

TaskSettings = task_settings("inference")
DEFAULT_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class MultiModal:
    """Settings for several outputs per source, with random styles in some rows of w+."""

    n_outputs: Annotated[Count, tyro.conf.arg(aliases=["--n_outputs_to_generate"])] = 1
    """number of outputs per face; several outputs differ in the rows of --latent_mask"""
    latent_mask: str | None = None
    """rows of w+ that get random styles: coarse, medium, fine, or numbers such as 8-17 or 3,5; by default fine if
    several outputs are requested"""
    mix_alpha: Share = 1.0
    """share of the random style in these rows, from 0 to 1"""

    def mixing(self, seed: int) -> "Mixing | None":
        """Return the settings of style mixing, or None if the only output has the encoder's codes."""
        if self.n_outputs == 1 and self.latent_mask is None:
            return None
        from psp.mixing import Mixing

        return Mixing(self.latent_mask or "fine", self.n_outputs, self.mix_alpha, seed)


@dataclass(frozen=True)
class SavedOptimisation(Optimisation):
    """Settings of the optimisation after encoding, and of files for its results."""

    save_generators: bool = False
    """write the tuned generators to generators/"""

    def __post_init__(self) -> None:
        if self.save_generators and not self.pivotal:
            raise UserError("--save_generators writes what --pivotal tunes: give --pivotal STEPS too")


@dataclass(frozen=True)
class Inference(Machine, Results):
    """Translate a folder of photos: find and align the faces, encode them, and render the codes."""

    data_path: Annotated[Path, tyro.conf.arg(aliases=["--data"])]
    """folder of images, searched with its subfolders, or one image; also by URL"""
    exp_dir: Path
    """folder for the results"""
    checkpoint_path: str = "portraits64_inversion"
    """a checkpoint, an experiment folder (its newest checkpoint), a published pSp file, or the name of a shipped
    model"""
    iterations: Annotated[Count | None, tyro.conf.arg(aliases=["--n_iters_per_batch"])] = None
    """passes of an encoder that corrects its codes (ReStyle) or features; by default as many as in its training. After
    one pass, a feature encoder gives codes in W+ without correction"""
    conjugate_steps: Annotated[int, Interval(ge=0, le=1000)] | None = None
    """steps of conjugate gradients on the features after the passes of a feature encoder: more of them bring the
    rendering closer to the photo; by default as many as the model was saved with"""
    align: bool | None = None
    """find faces and align them as in FFHQ, by default if the model reads photos of faces; --no_align is for pictures
    that are aligned already or show no faces"""
    crop: Literal["center", "pad"] = "center"
    """with --no_align: the middle part of a picture (a square or, for published models of cars, 4 to 3), or the whole
    picture on a black square as in `psp prepare --crop pad`, from which the results are cropped to its shape again"""
    faces: Literal["largest", "all"] = "largest"
    """which faces of a photo to translate"""
    detector: Literal["auto", "dlib", "mtcnn"] = "auto"
    """face detector; auto is dlib, and MTCNN for photos where dlib finds no face"""
    couple_outputs: bool = True
    """also write inference_coupled/, with aligned source and output side by side"""
    test_batch_size: Annotated[Count, tyro.conf.arg(aliases=["--batch_size"])] = 8
    """number of images that are translated at a time"""
    workers: Threads = DEFAULT_THREADS
    """number of threads that read and align photos; the results do not depend on it"""
    noise_mode: Literal["const", "random", "none"] = "const"
    """noise of the generator: the stored maps, new random maps, or none"""
    seed: Seed = 0
    """seed of the random styles and of the random noise maps"""
    precision: Precision = "auto"
    """auto: bf16 on a GPU and fp32 elsewhere; a 16-bit precision is compared with fp32 first, which is used if the
    outputs differ"""
    paste_back: bool = False
    """also write inference_pasted/, with the results pasted into the photos"""
    multi_modal: tyro.conf.OmitArgPrefixes[MultiModal] = field(default_factory=MultiModal)
    optimisation: tyro.conf.OmitArgPrefixes[SavedOptimisation] = field(default_factory=SavedOptimisation)
    task_settings: tyro.conf.OmitArgPrefixes[TaskSettings] = field(default_factory=TaskSettings)  # pyright: ignore[reportInvalidTypeForm]

    def __post_init__(self) -> None:
        if self.crop == "pad" and self.align is not False:
            raise UserError("--crop pad is for pictures that are not cropped to their faces: give --no_align too")
        if self.paste_back and self.align is False:
            raise UserError("--paste_back needs faces that are cut out of photos: leave out --no_align")
