"""The settings of scripts/inference.py."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from options.choices import Precision
from options.machine import Machine
from options.optimisation import Optimisation
from options.results import Results
from options.tasks import task_settings
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Count, Seed, Share, Threads

if TYPE_CHECKING:
    from psp.mixing import Mixing

TaskSettings = task_settings("inference")
FEW_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class MultiModal:
    """Several outputs for each source, with random styles in some rows of w+."""

    n_outputs: Annotated[Count, tyro.conf.arg(aliases=["--n_outputs_to_generate"])] = 1
    """outputs for each face; more than one differ in the rows of --latent_mask"""
    latent_mask: str | None = None
    """rows of w+ that get random styles: coarse, medium, fine, or numbers such as 8-17 or 3,5; if not given, fine"""
    mix_alpha: Share = 1.0
    """share of the random style in these rows, from 0 to 1"""

    def mixing(self, seed: int) -> "Mixing | None":
        """Return how several outputs are mixed; None where the one output is the encoder's."""
        if self.n_outputs == 1 and self.latent_mask is None:
            return None
        from psp.mixing import Mixing

        return Mixing(self.latent_mask or "fine", self.n_outputs, self.mix_alpha, seed)


@dataclass(frozen=True)
class SavedOptimisation(Optimisation):
    """What is optimised for each photo after encoding, and whether it is kept."""

    save_generators: bool = False
    """write the tuned generators to generators/"""

    def __post_init__(self) -> None:
        if self.save_generators and not self.pivotal:
            raise UserError("--save_generators writes what --pivotal tunes: give --pivotal STEPS too")


@dataclass(frozen=True)
class Inference(Machine, Results):
    """Translate a folder of photos: faces are found, aligned, encoded and rendered again."""

    data_path: Annotated[Path, tyro.conf.arg(aliases=["--data"])]
    """folder of images, searched with its subfolders, or one image; also by URL"""
    exp_dir: Path
    """folder for the results"""
    checkpoint_path: str = "portraits64_inversion"
    """a checkpoint, an experiment folder (its newest checkpoint), a published pSp file, or a shipped model's name"""
    iterations: Annotated[Count | None, tyro.conf.arg(aliases=["--n_iters_per_batch"])] = None
    """passes of an encoder that corrects itself (ReStyle) or features; by default as many as in its training. The first
    pass of a feature encoder gives codes in W+ alone"""
    align: bool | None = None
    """find faces and align them as FFHQ does, by default where the model reads photos; --no_align for pictures that are
    aligned already, or of no faces"""
    crop: Literal["center", "pad"] = "center"
    """with --no_align: the middle of a picture, a square or, for published models of cars, 4 to 3, or all of it on a
    black square as `psp prepare --crop pad` makes it; the results then have the picture's shape again"""
    faces: Literal["largest", "all"] = "largest"
    """which faces of a photo"""
    detector: Literal["auto", "dlib", "mtcnn"] = "auto"
    """face detector; auto is dlib, and MTCNN for photos where dlib finds no face"""
    couple_outputs: bool = True
    """write inference_coupled/ too: aligned source and output side by side"""
    test_batch_size: Annotated[Count, tyro.conf.arg(aliases=["--batch_size"])] = 8
    """images translated at a time"""
    workers: Threads = FEW_THREADS
    """threads that read and align photos; the results do not depend on it"""
    noise_mode: Literal["const", "random", "none"] = "const"
    """noise of the generator: the stored maps, fresh draws or none"""
    seed: Seed = 0
    """seed of the random styles and of the fresh draws of --noise_mode random"""
    precision: Precision = "auto"
    """auto: bf16 on a GPU and fp32 elsewhere; 16-bit numbers are compared with fp32 first, which is used if the outputs
    differ"""
    paste_back: bool = False
    """write inference_pasted/ too: the photos with the results laid over their faces"""
    multi_modal: tyro.conf.OmitArgPrefixes[MultiModal] = field(default_factory=MultiModal)
    optimisation: tyro.conf.OmitArgPrefixes[SavedOptimisation] = field(default_factory=SavedOptimisation)
    task_settings: tyro.conf.OmitArgPrefixes[TaskSettings] = field(default_factory=TaskSettings)  # pyright: ignore[reportInvalidTypeForm]

    def __post_init__(self) -> None:
        if self.crop == "pad" and self.align is not False:
            raise UserError("--crop pad is for pictures that are not cut out by their faces: give --no_align too")
        if self.paste_back and self.align is False:
            raise UserError("--paste_back puts results where faces were cut out of photos: leave --no_align out")
