"""The settings of scripts/blend.py."""

from dataclasses import dataclass
from pathlib import Path

from options.results import Results
from stylegan2.runtime.ranges import Count, NotNegative, Seed


@dataclass(frozen=True)
class Blend(Results):
    """Swap layers between two generators: the coarse ones of one, the fine ones of another that was tuned from it."""

    base: str
    """gives the coarse layers (pose and shapes) and the mapping network: a generator's name, folder or file"""
    style: str
    """gives the fine layers (colours and texture)"""
    out: Path
    """the .safetensors file to write; samples of base, style and blend are written beside it as .png"""
    swap_from: Count = 32
    """resolution from which the layers are the style's"""
    ramp: NotNegative = 0
    """so many resolutions from there on are a mixture, with more and more of the style"""
    seed: Seed = 0
    """seed of the samples"""
