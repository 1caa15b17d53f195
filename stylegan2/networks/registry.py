"""The generators and discriminators by name; a discriminator has the name of the generator it belongs to."""

from torch import nn

from stylegan2.runtime.registry import Registry

GENERATORS: Registry[nn.Module] = Registry("generator", "stylegan2.networks")
DISCRIMINATORS: Registry[nn.Module] = Registry("discriminator", "stylegan2.networks")
