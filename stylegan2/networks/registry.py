"""The generators and discriminators by name; a discriminator has the name of the generator it belongs to."""

from stylegan2.networks.protocols import Discriminator, Generator
from stylegan2.runtime.registry import Registry

GENERATORS: Registry[Generator] = Registry("generator", "stylegan2.networks")
DISCRIMINATORS: Registry[Discriminator] = Registry("discriminator", "stylegan2.networks")
