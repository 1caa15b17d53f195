"""Launches of Triton's kernels that are recorded instead of run, so that compilations can be counted without a GPU."""

import importlib

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import create_function_from_signature

from stylegan2.ops import fir, kernels, modulated

epilogue = importlib.import_module("stylegan2.ops.epilogue")  # the package has a function of that name
BACKEND = make_backend(GPUTarget("cuda", 90, 32))


class Launches:
    """A kernel that is not run: each launch adds its key to `keys`."""

    def __init__(self, kernel, keys):
        self.kernel, self.keys = kernel, keys
        self.bind = create_function_from_signature(kernel.signature, kernel.params, BACKEND)

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *args, **settings):
        _, specialization, options = self.bind(*args, **settings)
        self.keys.add((self.kernel.__name__, str(specialization), str(options)))


def other_optimizer(parameters, lr, **_):
    """An optimizer that, unlike a fused one, works on the meta device."""
    return torch.optim.RMSprop(parameters, lr)


def record_launches(monkeypatch):
    """Let every operator use the kernels, and return the set to which each launch adds its key."""
    found = set()
    monkeypatch.setattr(torch.optim, "Adam", other_optimizer)
    for module, name in (
        ("fir", "fir_kernel"),
        ("epilogue", "epilogue_kernel"),
        ("epilogue", "epilogue_gradients_kernel"),
    ):
        module = importlib.import_module(f"stylegan2.ops.kernels.{module}")
        monkeypatch.setattr(module, name, Launches(getattr(module, name), found))
    for module in (fir, epilogue, modulated):
        monkeypatch.setattr(module, "kernels_for", lambda _: kernels)
    return found
