"""The settings of scripts/blend.py."""

from dataclasses import dataclass
from pathlib import Path

from options.results import Results
from stylegan2.runtime.ranges import Count, NotNegative, Seed


@dataclass(frozen=True)
class Blend(Results):
    """Combine the coarse layers of a generator with the fine layers of another one that was tuned from it."""

    base: str
    """the generator of the coarse layers (pose and shapes) and of the mapping network: its name, folder or file"""
    style: str
    """the generator of the fine layers (colours and texture): its name, folder or file"""
    out: Path
    """the .safetensors file to write; samples of base, style and blend are written to a .png of the same name"""
    swap_from: Count = 32
    """resolution from which the layers are those of the style"""
    ramp: NotNegative = 0
    """number of resolutions, from --swap_from on, over which the layers change gradually to those of the style"""
    seed: Seed = 0
    """seed of the samples"""
