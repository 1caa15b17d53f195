"""The generators and discriminators by name; a discriminator has the name of the generator it belongs to.

A generator's class may say how it is trained: `published`, the settings of its paper that differ from the defaults, and
`presets`, {name: settings that differ from the published ones}.
"""

from stylegan2.networks.protocols import Discriminator, Generator
from stylegan2.networks.sizes import RANGES
from stylegan2.runtime.registry import Registry

GENERATORS: Registry[Generator] = Registry("generator", "stylegan2.networks", RANGES)
DISCRIMINATORS: Registry[Discriminator] = Registry("discriminator", "stylegan2.networks", RANGES)
