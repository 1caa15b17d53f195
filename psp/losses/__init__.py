"""Losses of the encoder: one file a loss, found by name; their weighted sum is here.

A loss is a frozen module with two attributes: `inputs`, the names of the tensors that its forward takes (among output,
target, source, w_plus, latent_avg), and `name`, under which its numbers are reported. Where a network measures, that is
the network's own name (lpips_alex, effnet, id_dlib, ...): numbers of different networks must not be compared.
`forward` returns one value per sample, [N].
"""

import math
from importlib import import_module
from pkgutil import iter_modules

import torch
from torch import Tensor, nn

from psp.losses.registry import LOSSES, register_loss
from stylegan2.runtime.errors import UserError

# Every file of this folder registers its own losses, so that a new loss is one new file.
for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")

__all__ = ["LOSSES", "WeightedLosses", "build_losses", "register_loss"]


class WeightedLosses(nn.Module):
    """Named losses with a weight each: terms {name: (loss, weight)}."""

    def __init__(self, terms: dict[str, tuple[nn.Module, float]]) -> None:
        super().__init__()
        self.losses = nn.ModuleDict({name: loss for name, (loss, _) in terms.items()})
        self.weights = {name: weight for name, (_, weight) in terms.items()}
        self.eval()

    @property
    def inputs(self) -> set[str]:
        """The names of the tensors that at least one term needs."""
        return {name for loss in self.losses.values() for name in loss.inputs}  # type: ignore

    def forward(self, **available: Tensor) -> dict[str, Tensor]:
        """Unweighted values {name: [N]}. Tensors that no term needs may be given too."""
        missing = sorted(self.inputs - available.keys())
        if missing:
            raise ValueError(f"the losses {', '.join(self.losses)} need also {', '.join(missing)}")
        return {
            name: loss(**{key: available[key] for key in loss.inputs})  # type: ignore
            for name, loss in self.losses.items()
        }

    def total(self, values: dict[str, Tensor]) -> Tensor:
        """The number to minimise: mean over the batch of the weighted sum. values {name: [N]} -> scalar."""
        weighted = [self.weights[name] * value for name, value in values.items()]  # each [N]
        return torch.stack(weighted).sum(0).mean()

    def train(self, mode: bool = True) -> "WeightedLosses":
        """The measuring networks stay in evaluation mode, whatever the model around them does."""
        return super().train(False)


def build_losses(lambdas: dict[str, float], **options: dict) -> WeightedLosses:
    """The losses of `lambdas` {registered name: weight}; a weight of 0 builds nothing.

    `options` {registered name: keyword arguments of that loss}: `build_losses({"id": 0.1}, id={"network": "dlib"})`.
    The terms carry the names of what measures: a weight for "perceptual" may become the term "effnet".
    UserError: an unknown name, a weight that is negative or not finite, nothing left, one measure twice.
    """
    _check(lambdas, options)
    terms: dict[str, tuple[nn.Module, float]] = {}
    with torch.random.fork_rng(devices=[]):  # the networks are loaded, not drawn: leave the caller's randomness alone
        for name, weight in lambdas.items():
            if weight == 0:
                continue
            loss = LOSSES[name](**options.get(name, {}))
            if loss.name in terms:
                raise UserError(f"The loss {loss.name} has been asked for twice; leave one of its weights at 0.")
            terms[str(loss.name)] = (loss, float(weight))
    return WeightedLosses(terms)


def _check(lambdas: dict[str, float], options: dict[str, dict]) -> None:
    unknown = sorted((lambdas.keys() | options.keys()) - LOSSES.keys())
    if unknown:
        raise UserError(f"There is no loss called {', '.join(unknown)}; there are {', '.join(sorted(LOSSES))}.")
    for name, weight in lambdas.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"The weight of the loss {name} must be 0 or a positive number, not {weight}.")
    if lambdas.get("id", 0) > 0 and lambdas.get("moco", 0) > 0:
        raise UserError(
            "The losses id and moco are for faces and for everything else: give one of them the weight 0, such as"
            " --id_lambda 0."
        )
    if not any(lambdas.values()):
        raise UserError("Every loss has the weight 0, so there is nothing to train on: give at least one a weight.")
