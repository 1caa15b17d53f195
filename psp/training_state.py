"""The state of an encoder's training: its settings, what a step changes, and how both are saved and resumed."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from psp.encoders import upgraded
from psp.encoders.e4e import unlocked_deltas
from psp.latent_discriminator import Adversary, adversary_tensors, build_adversary, load_adversary
from psp.load import model_tensors
from psp.model import PSp
from psp.optimizers import Ranger, build_optimizer
from psp.precision import PRECISIONS
from stylegan2.runtime import checkpoint, distributed
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.randomness import seed_step

OPTIMIZERS = ("ranger", "adam")


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the encoder loop, counted in steps as in the published code."""

    max_steps: int = 300_000
    """train until this many steps"""
    batch_size: int = 8
    """images a step, of all processes together"""
    accumulate: int = 1
    """parts in which each process works through its images of a step, to save memory; their gradients add up, but batch
    normalization sees a part at a time"""
    precision: str = "auto"
    """fp32, tf32, bf16, fp16, or auto: bf16 on a GPU and fp32 elsewhere; weights and sums stay in float32"""
    deterministic: bool = False
    """on a GPU too, the same numbers at every run and after every resume: slower"""
    test_batch_size: int = 8
    """images a validation step"""
    learning_rate: float = 1e-4
    """of the optimizer, per step"""
    decay_from: float = 1.0
    """share of max_steps after which the learning rate falls linearly to 0; 1 keeps it constant, as the paper does"""
    optim_name: str = "ranger"
    """ranger or adam"""
    train_decoder: bool = False
    """train the generator too"""
    progressive_start: int = 20_000
    """encoders of deltas (e4e): step from which the first delta learns"""
    progressive_step_every: int = 2_000
    """encoders of deltas (e4e): steps until the next one learns too; 0 starts all at once"""
    w_discriminator_lambda: float | None = None
    """weight of the latent discriminator; by default 0.1 for encoders of deltas (e4e) and 0 for all others"""
    w_discriminator_lr: float = 2e-5
    """learning rate of the latent discriminator"""
    w_pool_size: int = 50
    """earlier codes that the latent discriminator is shown again; 0 for none"""
    generated_share: float = 0.0
    """share of each batch that are samples of the generator, recoloured and blurred, whose codes are known"""
    latent_lambda: float = 1.0
    """weight of the mean squared difference from these codes"""
    board_interval: int = 50
    """steps between entries in TensorBoard and metrics.jsonl"""
    image_interval: int = 500
    """steps between image rows in TensorBoard"""
    val_interval: int = 2_500
    """steps between validations"""
    save_interval: int = 5_000
    """steps between checkpoints"""
    keep_checkpoints: int = 3
    """how many checkpoints stay on disk, beside the best"""
    max_nonfinite_steps: int = 20
    """stop when so many steps in a row were skipped because a loss or a gradient was NaN or infinite"""
    seed: int = 0
    """seed of everything random"""

    def __post_init__(self) -> None:
        counts = ("max_steps", "batch_size", "accumulate", "test_batch_size", "keep_checkpoints")
        intervals = ("board_interval", "image_interval", "val_interval", "save_interval")
        for name in (*counts, *intervals, "max_nonfinite_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name, choices in (("optim_name", OPTIMIZERS), ("precision", PRECISIONS)):
            if getattr(self, name) not in choices:
                raise UserError(f"{name} must be {' or '.join(choices)}, not {getattr(self, name)!r}")
        for name in ("learning_rate", "w_discriminator_lr"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} must be positive, not {getattr(self, name)}")
        not_negative = ("seed", "progressive_start", "progressive_step_every", "w_discriminator_lambda", "w_pool_size")
        for name in (*not_negative, "latent_lambda"):
            if (getattr(self, name) or 0) < 0:
                raise UserError(f"{name} must not be negative, but is {getattr(self, name)}")
        if not 0 <= self.generated_share <= 1:
            raise UserError(f"generated_share is a share from 0 to 1, not {self.generated_share}")

    @property
    def generated(self) -> int:
        """How many samples of a whole batch are generated."""
        return round(self.generated_share * self.batch_size)


@dataclass
class TrainingState:
    """All that a step changes: what a checkpoint holds."""

    model: PSp
    optimizer: torch.optim.Optimizer
    adversary: Adversary | None = None
    cur_step: int = 0
    cur_nimg: int = 0
    """images seen, which is where the stream of images goes on"""
    best_loss: float = float("inf")


def check_batches(s: TrainingSettings, processes: int) -> None:
    """Refuse a batch whose samples cannot be shared equally. UserError: the sentence says which size can."""
    parts = processes * s.accumulate
    if s.batch_size % parts:
        size = max(1, s.batch_size // parts) * parts
        raise UserError(
            f"a batch of {s.batch_size} cannot be shared by {processes} processes in {s.accumulate} parts each: use a "
            f"batch_size such as {size}"
        )
    if s.generated_share > 0 and s.generated < parts:
        raise UserError(
            f"generated_share {s.generated_share} of a batch of {s.batch_size} is {s.generated} samples, which cannot "
            f"be shared by {parts} parts: raise one of them"
        )


def learning_rate(cur_step: int, s: TrainingSettings) -> float:
    """Return the learning rate of the step that starts at cur_step."""
    decay_start = s.decay_from * s.max_steps
    if cur_step < decay_start:
        return s.learning_rate
    return s.learning_rate * (s.max_steps - cur_step) / max(s.max_steps - decay_start, 1)


def schedule(state: TrainingState, s: TrainingSettings) -> None:
    """Set what changes over training to its value in the step that starts at cur_step."""
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(state.cur_step, s)
    encoder = state.model.encoder
    if encoder.unlocked is not None:
        encoder.unlocked = unlocked_deltas(
            state.cur_step, s.progressive_start, s.progressive_step_every, encoder.num_ws - 1
        )


def build_state(model: PSp, s: TrainingSettings) -> TrainingState:
    """Return the state at the start of a training of `model`, which must be on its device already.

    The generator is frozen unless it is trained too; the encoder's batch statistics are learned.
    """
    model.requires_grad_(False).eval()
    trained = model if s.train_decoder else model.encoder
    trained.requires_grad_(True)
    model.encoder.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = build_optimizer(s.optim_name, parameters, s.learning_rate)
    weight = s.w_discriminator_lambda
    if weight is None:
        weight = model.encoder.default_w_discriminator_lambda
    if weight == 0:
        return TrainingState(model, optimizer)
    seed_step(s.seed, 0, 0)  # the discriminator's first weights
    sizes = (model.generator.w_dim, weight, s.w_discriminator_lr, s.w_pool_size)
    return TrainingState(model, optimizer, build_adversary(*sizes, model.latent_avg.device))


def buffers_of_step(state: TrainingState) -> list[Tensor]:
    """Return what a step writes before it knows whether its losses are finite: batch statistics and pools of codes."""
    pools = (state.adversary.real_pool, state.adversary.fake_pool) if state.adversary is not None else ()
    return [buffer for module in (state.model.encoder, *pools) for buffer in module.buffers()]


# --- checkpoints ---


def checkpoint_path(run_dir: Path, cur_step: int) -> Path:
    """Return where the checkpoint of a step is written."""
    return checkpoint.checkpoint_path(run_dir, "iteration", cur_step)


def save(
    state: TrainingState, path: Path, description: dict[str, Any], s: TrainingSettings, spare: bool = False
) -> Path:
    """Write the whole pair and the optimizers, and delete the oldest checkpoints; return `path`.

    `psp.load` reads the pair and ignores the optimizers. Of several processes only the first writes. With `spare` one
    checkpoint more than usual is kept.
    """
    if not distributed.is_first():
        return path
    if isinstance(state.optimizer, Ranger):
        state.optimizer.settle()
    optimizer_tensors, optimizer = checkpoint.optimizer_tensors(
        "optimizer", state.optimizer, state.model.named_parameters()
    )
    metadata = {
        "kind": "psp",
        **description,
        "cur_step": state.cur_step,
        "cur_nimg": state.cur_nimg,
        "best_loss": state.best_loss if np.isfinite(state.best_loss) else None,
        "settings": asdict(s),
        "optimizer": optimizer,
    }
    tensors = model_tensors(state.model) | optimizer_tensors
    if state.adversary is not None:
        more, optimizer = adversary_tensors(state.adversary)
        tensors, metadata = tensors | more, metadata | {"optimizers": {"w_discriminator": optimizer}}
    checkpoint.save(path, tensors, metadata)
    checkpoint.prune(path.parent, s.keep_checkpoints + spare)
    return path


def resume(state: TrainingState, run_dir: Path, s: TrainingSettings, description: dict[str, Any]) -> Path | None:
    """Continue from the newest intact checkpoint of run_dir, if there is one.

    Returns:
        The checkpoint.

    Raises:
        UserError: run_dir holds the training of another model or task.
    """
    newest = checkpoint.newest(run_dir)
    if newest is None:
        return None
    path, tensors, metadata = newest
    checkpoint.check_resumable(path, metadata, ("settings", "optimizer", "cur_step", "best_loss"))
    for part, value in description.items():
        stored = metadata.get(part)
        if part == "encoder" and stored:
            stored = upgraded(stored)
        if stored != value:
            raise UserError(f"{path} was trained with another {part} than was asked for: use another exp_dir")
    batch_size = metadata["settings"]["batch_size"]
    checkpoint.load_module(state.model.encoder, tensors, "encoder")
    checkpoint.load_module(state.model.generator, tensors, "generator")
    state.model.latent_avg.copy_(tensors["latent_avg"])
    checkpoint.load_optimizer(state.optimizer, state.model.named_parameters(), tensors, metadata["optimizer"])
    if state.adversary is not None:
        load_adversary(state.adversary, tensors, metadata.get("optimizers", {}).get("w_discriminator"))
    state.cur_step = metadata["cur_step"]
    state.cur_nimg = metadata.get("cur_nimg", state.cur_step * batch_size)
    state.best_loss = float("inf") if metadata["best_loss"] is None else metadata["best_loss"]
    print(f"resuming from {path.name} at step {state.cur_step:,}")
    if batch_size != s.batch_size:
        print(f"the batch size was {batch_size} and is now {s.batch_size}, so that the result is another one")
    return path
