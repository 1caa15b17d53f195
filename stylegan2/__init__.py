"""StyleGAN2 and its relatives: networks, training, metrics, and one function that loads any of their generators.

What is imported from here is loaded when it is first used, so that importing `stylegan2` alone does not import PyTorch.
"""

from typing import TYPE_CHECKING

from stylegan2.runtime.lazy import attribute_of

if TYPE_CHECKING:
    from stylegan2.loading import load, save_generator

__all__ = ["load", "save_generator"]

_MODULES = {"load": "stylegan2.loading", "save_generator": "stylegan2.loading"}


def __getattr__(name: str) -> object:
    return attribute_of(__name__, name, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
