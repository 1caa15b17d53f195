"""The settings of scripts/export.py."""

from dataclasses import dataclass
from pathlib import Path

from options.results import Results


@dataclass(frozen=True)
class Export(Results):
    """Write a trained model alone, without optimizer and history: small, to share and to load by `load`."""

    checkpoint_path: str
    """an experiment folder or a checkpoint of a generator or an encoder"""
    out: Path
    """the .safetensors file to write"""
    half: bool = False
    """store 16-bit numbers: half the size, errors far below what an eye sees"""
    licence: str = ""
    """written beside the weights"""
