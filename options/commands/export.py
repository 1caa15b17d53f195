"""The settings of scripts/export.py."""

from dataclasses import dataclass
from pathlib import Path

from options.results import Results


@dataclass(frozen=True)
class Export(Results):
    """Write a small file with a trained model, without optimizer and history, to share and to load by `load`."""

    checkpoint_path: str
    """an experiment folder or a checkpoint of a generator or an encoder"""
    out: Path
    """the .safetensors file to write"""
    half: bool = False
    """store 16-bit numbers, which halves the size and changes images invisibly"""
    licence: str = ""
    """licence of the model, which is stored in the file"""
