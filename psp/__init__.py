"""psp: encode images into a generator's latent space and translate them on the way (pixel2style2pixel)."""

from psp.load import load, save_model
from psp.model import PSp

__all__ = ["PSp", "load", "save_model"]
