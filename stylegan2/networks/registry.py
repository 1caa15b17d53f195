"""The generators and discriminators by name; a discriminator has the name of the generator it belongs to.

The class of a generator may have two attributes about its training: `published`, the settings of its paper that differ
from the defaults, and `presets`, {name: settings that differ from the published ones}.
"""

from stylegan2.networks.protocols import Discriminator, Generator
from stylegan2.networks.sizes import RANGES
from stylegan2.runtime.registry import Registry

GENERATORS: Registry[Generator] = Registry("generator", "stylegan2.networks", RANGES)
DISCRIMINATORS: Registry[Discriminator] = Registry("discriminator", "stylegan2.networks", RANGES)
