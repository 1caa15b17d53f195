"""Flags of all commands that run models: the device and the configuration of the process."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from options.results import Configured
from stylegan2.runtime.memory import limit_memory

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Machine(Configured):
    """Settings of the machine, which the dataclass of a command inherits."""

    device: str = "auto"
    """auto, cpu, cuda or mps"""
    tune_malloc: bool = True
    """keep freed memory in the process instead of returning it to the system: faster on Linux, no change elsewhere"""

    def prepare(self) -> "torch.device":
        """Configure the process and return the device of the networks.

        Raises:
            UserError: The device does not exist.
        """
        from stylegan2.runtime import device as runtime  # here, because settings are parsed without importing PyTorch

        chosen = runtime.pick_device(self.device)
        runtime.tune_process(self.tune_malloc)
        if chosen.type == "cpu":
            limit_memory()
        return chosen
