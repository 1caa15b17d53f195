"""StyleGAN2 and its relatives: networks, training, metrics, and one function that loads any of their generators."""

from stylegan2.load import load, save_generator

__all__ = ["load", "save_generator"]
