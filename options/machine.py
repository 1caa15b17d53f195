"""Flags of every command that runs models: on which device, and how the process is set up."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from options.results import Configured
from stylegan2.runtime.memory import limit_memory

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Machine(Configured):
    """Settings that the dataclass of a command inherits."""

    device: str = "auto"
    """auto, cpu, cuda or mps"""
    tune_malloc: bool = True
    """keep freed memory in the process instead of returning it to the system: faster on Linux, no change elsewhere"""

    def prepare(self) -> "torch.device":
        """Set up the process and return the device to run on. UserError: it is not there."""
        from stylegan2.runtime import device as runtime  # which imports PyTorch, and settings are read without

        chosen = runtime.pick_device(self.device)
        runtime.tune_process(self.tune_malloc)
        if chosen.type == "cpu":
            limit_memory()
        return chosen
