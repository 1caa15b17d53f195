"""The settings of scripts/evaluate_generator.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from options.results import Results
from options.shared import Machine, SynthesisPrecision
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Count, Seed


@dataclass(frozen=True)
class EvaluateGenerator(Machine, Results):
    """Measure a generator: the distance of its images to the data, and the structure of its latent space."""

    generator: Annotated[str, tyro.conf.arg(aliases=["--stylegan_weights"])] = "synthfaces64"
    """a shipped name, an experiment folder or a generator's file"""
    data: Annotated[str, tyro.conf.arg(aliases=["--data_path"])] = "synthetic"
    """training data of the generator: a folder or zip of images, or `synthetic` for the procedural faces"""
    metrics: str = "fd_effnet,kd_effnet,precision_recall"
    """comma-separated: fd_effnet, fd_dlib, fid, kd_effnet, kd_dlib, kid, precision_recall, precision_recall_dlib,
    ppl (or ppl_z_full, ppl_z_end, ppl_w_full, ppl_w_end), separability, resolution_usage, attribution, face_ratio"""
    num_samples: Annotated[Count, tyro.conf.arg(aliases=["--num_images"])] = 5_000
    """number of generated images; the papers use 50,000 to 200,000"""
    num_real: Count | None = None
    """number of real images; by default all of a folder or zip, and as many procedural faces as samples"""
    out: Path | None = None
    """.json file for the results; a table (.md), a sheet of samples (.png) and the settings (.yaml) of the same name
    are written as well. By default runs/evaluation-GENERATOR/metrics.json"""
    truncation_psi: float = 1.0
    """truncation of the samples: 1 leaves them unchanged, as in the papers; a smaller number truncates more"""
    batch_size: Count = 16
    """images per batch"""
    inception: Path | None = None
    """pt_inception-2015-12-05-6726825d.pth (pytorch-fid, torch-fidelity), for fid and kid"""
    perceptual: str = "auto"
    """distance for ppl and attribution: vgg (LPIPS, as in the papers), alex, squeeze, effnet, or auto: vgg if its file
    is on this machine, else effnet"""
    crop: bool = False
    """compute path lengths on the face in FFHQ-aligned images, as in StyleGAN, instead of the whole image, as in
    StyleGAN2"""
    labels: Path | None = None
    """for separability on your own images: a CSV file with a header `file,NAME,...` and rows of 0 and 1"""
    attribution_images: Count = 16
    """attribution: number of real and of generated images that are projected"""
    projection_steps: Count = 1000
    """attribution: steps of the projection"""
    precision: SynthesisPrecision = "fp32"
    seed: Seed = 0
    """seed of the samples"""

    def __post_init__(self) -> None:
        from psp.evaluation.generator import parse_metrics

        parse_metrics(self.metrics)
        if self.out is not None and self.out.suffix != ".json":
            raise UserError(f"--out must be a .json file, not {str(self.out)!r}")
