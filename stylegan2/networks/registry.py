"""The generators and discriminators by name; a discriminator has the name of the generator it belongs to.

The class of a generator may have two attributes about its training: `published`, the settings of its paper that differ
from the defaults, and `presets`, {name: settings that differ from the published ones}.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from stylegan2.networks.sizes import RANGES
from stylegan2.runtime.registry import Config, Registry

if TYPE_CHECKING:  # the command line reads the presets without PyTorch
    from stylegan2.networks.protocols import Discriminator, Generator

GENERATORS: "Registry[Generator]" = Registry("generator", "stylegan2.networks", RANGES)
DISCRIMINATORS: "Registry[Discriminator]" = Registry("discriminator", "stylegan2.networks", RANGES)

Settings = Config
Preset = Settings | Callable[[int, int | None], Settings]
"""settings that differ from the published ones, or a function of resolution and batch size (None: by the preset)"""

# Settings that the presets of several generators share: 64 px on a laptop, at most 128 channels.
TINY_CPU: Settings = {
    "resolution": 64,
    "z_dim": 128,
    "w_dim": 128,
    "channel_base": 2048,
    "channel_max": 128,
    "mapping_layers": 4,
    "batch_size": 8,
    "ema_nimg": 5_000,
    "r1_gamma": 0.5,
    "total_nimg": 500_000,
    "save_interval": 20_000,
}
TINY_GROWING: Settings = {**TINY_CPU, "batch_sizes": {4: 32, 8: 32, 16: 16}, "fade_nimg": 40_000, "stable_nimg": 40_000}
