"""The settings of scripts/doctor.py."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from options.machine import Machine
from stylegan2.networks.sizes import check_sizes
from stylegan2.runtime.ranges import Count, NotNegative, Threads


@dataclass(frozen=True)
class Doctor(Machine):
    """Look at a folder of pictures and propose the commands that train a generator and an encoder on them.

    Sizes, shapes, colours, damaged files, copies and, in a sample, faces are looked for. Nothing is written.
    """

    data: tyro.conf.Positional[Path]
    """folder of pictures, searched with its subfolders, or a zip file of them"""
    look_at: Count = 1_000
    """pictures to read, spread evenly over all"""
    search: Count = 24
    """of these, pictures to search for faces"""
    resolution: NotNegative = 0
    """pixels of a side to propose commands for; by default what the pictures and the machine allow"""
    workers: Threads = 2
    """threads that read"""
    estimate: bool = True
    """train a few steps to say how long the trainings would take on this machine"""

    def __post_init__(self) -> None:
        if self.resolution:
            check_sizes(self.resolution, 3, "skip")
