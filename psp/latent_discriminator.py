"""The latent discriminator of e4e (arXiv 2102.02766), which separates codes of the encoder from those of the mapping.

The encoder learns to deceive it, which keeps its codes where the generator was trained and where edits work.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stylegan2 import losses
from stylegan2.runtime import distributed
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.randomness import draw_shard
from stylegan2.runtime.tensors import load_module, load_optimizer, module_tensors, optimizer_tensors

HIDDEN_LAYERS = 3
R1_GAMMA, R1_INTERVAL = 10.0, 16
PREFIX = "w_discriminator"
PARTS = ("network", "real_pool", "fake_pool")


class LatentDiscriminator(nn.Module):
    """A perceptron with three hidden layers as wide as w and leaky ReLU 0.2."""

    def __init__(self, w_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(HIDDEN_LAYERS):
            layers += [nn.Linear(w_dim, w_dim), nn.LeakyReLU(0.2)]
        self.mlp = nn.Sequential(*layers, nn.Linear(w_dim, 1))

    def forward(self, w: Tensor) -> Tensor:
        """Return the logits [N, 1] of w [N, w_dim]."""
        return self.mlp(w)  # [N, 1]


class LatentPool(nn.Module):
    """A pool of earlier codes, which are mixed into the batches of the discriminator (arXiv 1612.07828, section 2.3).

    It draws from PyTorch's global generator and its content is a buffer, so that a resumed run continues exactly.
    Several processes keep the same pool, that of the whole batch.
    """

    codes: Tensor  # [size, w_dim]
    count: Tensor  # [], number of codes in the pool

    def __init__(self, size: int, w_dim: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(size, w_dim))
        self.register_buffer("count", torch.zeros([], dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, codes: Tensor) -> Tensor:
        """Put codes [N, w_dim] into the pool and return as many [N, w_dim].

        While the pool is being filled, these are the same codes. Once it is full, half of the codes are exchanged for
        codes of the pool. Nothing waits for the device.
        """
        size = len(self.codes)
        if size == 0:
            return codes
        whole = distributed.all_gather(codes).transpose(0, 1).flatten(0, 1)  # [all N, w_dim], in the batch's order
        coins = (torch.rand(len(whole)) < 0.5).to(codes.device, non_blocking=True)  # [all N]
        slots = torch.randint(size, (len(whole), 1)).to(codes.device, non_blocking=True)  # [all N, 1]
        given = []
        for code, coin, slot in zip(whole[:, None], coins, slots, strict=True):
            is_filling = self.count < size  # []
            slot = torch.where(is_filling, self.count, slot)  # [1]
            earlier = self.codes.index_select(0, slot)  # [1, w_dim]
            given.append(torch.where(coin & ~is_filling, earlier, code))  # [1, w_dim]
            self.codes.index_copy_(0, slot, torch.where(coin | is_filling, code, earlier))
            self.count += is_filling
        return torch.cat(given)[distributed.rank() :: distributed.world_size()]  # [N, w_dim]


@dataclass
class Adversary:
    """The discriminator, its optimizer and its pools."""

    network: LatentDiscriminator
    optimizer: torch.optim.Optimizer
    real_pool: LatentPool
    fake_pool: LatentPool
    weight: float
    """weight of the encoder's adversarial loss"""


def build_adversary(w_dim: int, weight: float, learning_rate: float, pool_size: int, device: torch.device) -> Adversary:
    """Build a new latent discriminator with empty pools of `pool_size` codes, and its optimizer."""
    network = LatentDiscriminator(w_dim).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
    real_pool, fake_pool = (LatentPool(pool_size, w_dim).to(device) for _ in range(2))
    return Adversary(network, optimizer, real_pool, fake_pool, weight)


def deception_loss(network: LatentDiscriminator, rows: Tensor) -> Tensor:
    """Compute -log D(w), averaged over the rows of each sample, with D frozen: [N, rows, w_dim] -> [N]."""
    network.requires_grad_(False)
    logits = network(rows.flatten(0, 1))  # [N * rows, 1]
    network.requires_grad_(True)
    return losses.logistic_g(logits).unflatten(0, rows.shape[:2]).mean(1)  # [N]


def train_discriminator(
    adversary: Adversary, real: Tensor, rows: Tensor, cur_step: int, guard: Guard
) -> dict[str, Tensor]:
    """Take one step of the discriminator, with lazy R1.

    Args:
        adversary: The discriminator with its optimizer and pools.
        real: w of the mapping network, [N, w_dim].
        rows: Codes of the encoder, [N, rows, w_dim], of which one random row per sample is used.
        cur_step: Index of the step, from 0.
        guard: Decides whether the step is skipped; the pools have changed by then.

    Returns:
        {name: [N]} for the log.
    """
    network = adversary.network
    picked = draw_shard(lambda count: torch.randint(rows.shape[1], (count,), device=rows.device), len(rows))  # [N]
    fake = rows.detach()[torch.arange(len(rows), device=rows.device), picked]  # [N, w_dim]
    real, fake = adversary.real_pool.exchange(real), adversary.fake_pool.exchange(fake)
    values = {"w_discriminator_d": losses.logistic_d(network(fake), network(real))}  # [N]
    _update(adversary.optimizer, values["w_discriminator_d"].mean(), "loss_w_discriminator_d", guard)
    if cur_step % R1_INTERVAL == 0:
        watched = real.detach().requires_grad_(True)
        values["w_discriminator_r1"] = losses.r1(network(watched), watched)  # [N]
        penalty = values["w_discriminator_r1"].mean() * (R1_GAMMA / 2 * R1_INTERVAL)
        _update(adversary.optimizer, penalty, "loss_w_discriminator_r1", guard)
    return values


def _update(optimizer: torch.optim.Optimizer, loss: Tensor, term: str, guard: Guard) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    loss = distributed.all_reduce_gradients(optimizer, loss)
    guard.step_optimizer(optimizer, {term: loss})


# --- checkpoints ---


def adversary_tensors(adversary: Adversary) -> tuple[dict[str, Tensor], Metadata]:
    """Return the whole state of the adversary as tensors and JSON."""
    tensors, settings = optimizer_tensors(
        f"{PREFIX}.optimizer", adversary.optimizer, adversary.network.named_parameters()
    )
    for part in PARTS:
        tensors |= module_tensors(f"{PREFIX}.{part}", getattr(adversary, part))
    return tensors, settings


def load_adversary(adversary: Adversary, tensors: Mapping[str, Tensor], settings: dict[str, object] | None) -> None:
    """Restore the state from `adversary_tensors`, bit for bit. CheckpointError: the run was trained without one."""
    if settings is None:
        raise CheckpointError(
            "it was trained without a latent discriminator: use w_discriminator_lambda 0 to resume it"
        )
    for part in PARTS:
        load_module(getattr(adversary, part), tensors, f"{PREFIX}.{part}")
    load_optimizer(adversary.optimizer, adversary.network.named_parameters(), tensors, settings)
