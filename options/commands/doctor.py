"""The settings of scripts/doctor.py."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from options.shared import Machine
from stylegan2.networks.sizes import check_sizes
from stylegan2.runtime.ranges import Count, NotNegative, Threads


@dataclass(frozen=True)
class Doctor(Machine):
    """Look at a folder of pictures and propose the commands that train a generator and an encoder on them.

    The command examines sizes, shapes and colours, and looks for damaged files, copies and, in a sample, faces. It
    writes nothing.
    """

    data: tyro.conf.Positional[Path]
    """folder of pictures, searched with its subfolders, or a zip file of them"""
    look_at: Count = 1_000
    """number of pictures to read, spread evenly over all"""
    search: Count = 24
    """number of these pictures to search for faces"""
    resolution: NotNegative = 0
    """side of the images, in pixels, for the proposed commands; by default the largest that the pictures and the
    machine allow"""
    workers: Threads = 2
    """number of threads that read pictures"""
    estimate: bool = True
    """train a few steps to estimate how long the trainings would take on this machine"""

    def __post_init__(self) -> None:
        if self.resolution:
            check_sizes(self.resolution, 3, "skip")
