"""psp: encode images into a generator's latent space and translate them on the way (pixel2style2pixel).

What is imported from here is loaded when it is first used, so that importing `psp` alone does not import PyTorch.
"""

from typing import TYPE_CHECKING

from stylegan2.runtime.lazy import attribute_of

if TYPE_CHECKING:
    from psp.inference.portraits import find_faces
    from psp.inference.predictor import Face, Predictor, load
    from psp.loading import save_model
    from psp.model import PSp

__version__ = "0.1.0"
__all__ = ["Face", "PSp", "Predictor", "__version__", "find_faces", "load", "save_model"]

_MODULES = {
    **dict.fromkeys(("Face", "Predictor", "load"), "psp.inference.predictor"),
    "find_faces": "psp.inference.portraits",
    "PSp": "psp.model",
    "save_model": "psp.loading",
}


def __getattr__(name: str) -> object:
    return attribute_of(__name__, name, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
