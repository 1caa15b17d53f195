"""Data sets whose samples describe the processes that read them. This module does not import PyTorch."""

import os
import re
import signal
import sys
import warnings
from pathlib import Path

import numpy as np


class Numbers:
    """Gives (pid, whether PyTorch is imported, sum of a large array, whether that can be written to)."""

    def __init__(self):
        self.large = np.ones(2_000_000, np.int64)

    def __getitem__(self, key):
        return np.array([os.getpid(), "torch" in sys.modules, self.large.sum(), self.large.flags.writeable])


class Failing:
    """A data set that raises an error at one position."""

    def __init__(self, error, at):
        self.error, self.at = error, at

    def __getitem__(self, key):
        if key[1] == self.at:
            raise self.error
        return np.array(key)


class Warns:
    """A data set that warns about every sample."""

    def __getitem__(self, key):
        warnings.warn(f"sample {key[0]} is odd", stacklevel=1)
        return np.array(key)


class Dying:
    """A data set that kills its process, as the system does if memory is short."""

    def __getitem__(self, key):
        if key[1] == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.array(key)


class Sizes:
    """A data set with arrays of several types and sizes, also empty ones."""

    def __getitem__(self, key):
        return np.full((3, 700, 700), key[1], np.float32), np.int64(key[1]), np.array([key[1]] * 2), np.zeros(0)


class Holdings:
    """A data set, and what the process that reads it holds: `[key]` returns [resident kB, whether torch is there]."""

    def __init__(self, dataset):
        self.dataset, self.preload = dataset, dataset.preload

    def __getitem__(self, key):
        _ = self.dataset[key]
        resident = re.search(r"^VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        return np.array([int(resident[1]), "torch" in sys.modules])
