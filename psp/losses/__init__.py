"""Losses of the encoder, one per file and registered by name, and their weighted sum.

A loss is a frozen module with two attributes: `inputs`, the names of the tensors that its forward takes (among output,
target, source, w_plus, features, latent_avg), and `name`. If the loss uses a network, `name` is that of the network
(lpips_alex, effnet, id_dlib, ...), which reports give with the numbers, since values of different networks must not be
compared. The values themselves are logged under the registered name of the loss. `forward` returns one value per
sample, [N].
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from psp.losses.registry import LOSSES, Loss, register_loss
from stylegan2.runtime.errors import UserError

__all__ = ["LOSSES", "Loss", "WeightedLosses", "build_losses", "register_loss"]


class WeightedLosses(nn.Module):
    """A weighted sum of named losses; `terms` is {name: (loss, weight)}."""

    def __init__(self, terms: dict[str, tuple[nn.Module, float]]) -> None:
        super().__init__()
        self.losses = nn.ModuleDict({name: loss for name, (loss, _) in terms.items()})
        self.weights = {name: weight for name, (_, weight) in terms.items()}
        measured_by = {name: str(getattr(loss, "name", name)) for name, (loss, _) in terms.items()}
        self.networks = {name: network for name, network in measured_by.items() if network != name}
        self.eval()

    @property
    def inputs(self) -> set[str]:
        """Return the names of the tensors that at least one term needs."""
        return {name for loss in self.losses.values() for name in cast(Loss, loss).inputs}

    @property
    def weights_by_network(self) -> dict[str, float]:
        """Return the weights by the names of losses or their networks, such as {"effnet": 0.8}."""
        return {self.networks.get(name, name): weight for name, weight in self.weights.items()}

    def forward(self, **available: Tensor) -> dict[str, Tensor]:
        """Return the unweighted values {name: [N]}; tensors that no term needs are ignored."""
        missing = sorted(self.inputs - available.keys())
        if missing:
            raise ValueError(f"the losses {', '.join(self.losses)} also need {', '.join(missing)}")
        return {
            name: loss(**{key: available[key] for key in cast(Loss, loss).inputs}) for name, loss in self.losses.items()
        }  # [N] each

    def total(self, values: dict[str, Tensor]) -> Tensor:
        """Return the loss to minimise, the mean over the batch of the weighted sum: {name: [N]} -> []."""
        weighted = [self.weights[name] * value for name, value in values.items()]  # each [N]
        return torch.stack(weighted).sum(0).mean()

    def weighed(self, factors: dict[str, float]) -> "WeightedLosses":
        """Return the same losses with their weights multiplied by {name: factor}; other names are ignored."""
        losses = self.losses.items()
        return WeightedLosses({name: (loss, self.weights[name] * factors.get(name, 1.0)) for name, loss in losses})

    def train(self, mode: bool = True) -> "WeightedLosses":
        """Keep the networks of the losses in evaluation mode, regardless of the requested mode."""
        return super().train(False)


def build_losses(lambdas: dict[str, float], **settings: dict[str, object]) -> WeightedLosses:
    """Build the losses with a positive weight: `build_losses({"l2": 1, "id": 0.1}, id={"network": "dlib"})`.

    Args:
        lambdas: {registered name: weight}; a loss with weight 0 is not built.
        settings: {registered name: keyword arguments of the loss}; those of losses that are not built are ignored.

    Raises:
        UserError: A name or setting is unknown, a weight is negative or not finite, all weights are 0, or two losses
            are the same.
    """
    _check(lambdas, settings)
    terms: dict[str, tuple[nn.Module, float]] = {}
    with torch.random.fork_rng(devices=[]):  # building networks must not change the caller's random state
        for name, weight in lambdas.items():
            if weight == 0:
                continue
            loss = LOSSES.build(name, **settings.get(name, {}))
            if loss.name in (other.name for other, _ in terms.values()):
                raise UserError(f"the loss {loss.name} was given twice: leave one of its weights at 0")
            terms[name] = (loss, float(weight))
    return WeightedLosses(terms)


def _check(lambdas: dict[str, float], settings: dict[str, dict[str, object]]) -> None:
    for name in lambdas.keys() | settings.keys():
        _ = LOSSES[name]
    for name, weight in lambdas.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"the weight of the loss {name} must be 0 or a positive number, not {weight}")
    if lambdas.get("id", 0) > 0 and lambdas.get("moco", 0) > 0:
        raise UserError(
            "the loss id is for faces and the loss moco for everything else: give one of them the weight 0, such as"
            " id_lambda 0"
        )
    if not any(lambdas.values()):
        raise UserError(
            "every loss has the weight 0, so there is nothing to minimise: give at least one a positive weight"
        )
