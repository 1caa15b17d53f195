"""The state of an encoder's training, and its checkpoints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from psp.encoders import upgraded
from psp.encoders.e4e import unlocked_deltas
from psp.latent_discriminator import Adversary, adversary_tensors, build_adversary, load_adversary
from psp.loading import model_tensors
from psp.model import PSp
from psp.optimizers import Ranger, build_optimizer
from psp.training_settings import TrainingSettings
from stylegan2.runtime import checkpoint, distributed
from stylegan2.runtime.bounded import reading
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.module import Module
from stylegan2.runtime.randomness import seed_step
from stylegan2.runtime.tensors import load_module, load_optimizer, optimizer_tensors


@dataclass
class TrainingState:
    """Everything that a step changes, which is everything that a checkpoint holds."""

    model: PSp
    optimizer: torch.optim.Optimizer
    adversary: Adversary | None = None
    cur_step: int = 0
    cur_nimg: int = 0
    """images seen, which is the position in the stream of images"""
    best_loss: float = float("inf")


def check_batches(s: TrainingSettings, processes: int) -> None:
    """Check that the samples of a batch can be shared equally. UserError: they cannot; the message gives a size."""
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


def smaller_parts(share: int, accumulate: int) -> tuple[int, str]:
    """Return how many samples a process works on at a time, and what to try where its memory is too small for them.

    Args:
        share: Samples of this process.
        accumulate: In so many parts.
    """
    now = share // accumulate
    more = next((parts for parts in range(2 * accumulate, share + 1) if share % parts == 0), None)
    if more is None:
        return now, f"use a batch_size below {share}, or a smaller encoder_type"
    return now, f"try `accumulate` {more}, with the same result in about {accumulate / more:.0%} of it"


def learning_rate(cur_step: int, s: TrainingSettings) -> float:
    """Return the learning rate of the step that starts at cur_step."""
    decay_start = s.decay_from * s.max_steps
    if cur_step < decay_start:
        return s.learning_rate
    return s.learning_rate * (s.max_steps - cur_step) / max(s.max_steps - decay_start, 1)


def schedule(state: TrainingState, s: TrainingSettings) -> None:
    """Set the scheduled values of the step that starts at cur_step."""
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(state.cur_step, s)
    encoder = state.model.encoder
    if encoder.unlocked is not None:
        encoder.unlocked = unlocked_deltas(
            state.cur_step, s.progressive_start, s.progressive_step_every, encoder.num_ws - 1
        )


def trainable_module(model: PSp, s: TrainingSettings) -> Module:
    """Return the part of the encoder that learns: the whole encoder, or its corrector.

    Raises:
        UserError: Only the corrector should learn, but the encoder has none.
    """
    if not s.freeze_w_plus:
        return model.encoder
    if not model.encoder.corrects_features:
        raise UserError("freeze_w_plus trains only the correction of features, which only feature encoders have")
    return model.encoder.corrector


def build_state(model: PSp, s: TrainingSettings) -> TrainingState:
    """Build the state at the start of a training of `model`, which must be on its device already.

    The generator is frozen unless it is trained too; the encoder learns its batch statistics.
    """
    model.requires_grad_(False).eval()
    trained = model if s.train_decoder else trainable_module(model, s)
    trained.requires_grad_(True)
    trainable_module(model, s).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = build_optimizer(s.optim_name, parameters, s.learning_rate)
    weight = s.w_discriminator_lambda
    if weight is None:
        weight = model.encoder.default_w_discriminator_lambda
    if weight == 0:
        return TrainingState(model, optimizer)
    seed_step(s.seed, 0, 0)  # seeds the initial weights of the discriminator
    sizes = (model.generator.w_dim, weight, s.w_discriminator_lr, s.w_pool_size)
    return TrainingState(model, optimizer, build_adversary(*sizes, model.latent_avg.device))


def buffers_of_step(state: TrainingState) -> list[Tensor]:
    """Return the buffers that a step writes before its losses are known: batch statistics and pools of codes."""
    pools = (state.adversary.real_pool, state.adversary.fake_pool) if state.adversary is not None else ()
    return [buffer for module in (state.model.encoder, *pools) for buffer in module.buffers()]


# --- checkpoints ---


def checkpoint_path(run_dir: Path, cur_step: int) -> Path:
    """Return the path of the checkpoint of a step."""
    return checkpoint.checkpoint_path(run_dir, "iteration", cur_step)


def save(state: TrainingState, path: Path, description: Metadata, s: TrainingSettings, spare: bool = False) -> Path:
    """Write the model and the optimizers, delete the oldest checkpoints, and return `path`.

    `loading.load` ignores the optimizers. Of several processes only the first one writes. With `spare`, one more
    checkpoint than usual is kept.
    """
    if not distributed.is_first():
        return path
    if isinstance(state.optimizer, Ranger):
        state.optimizer.settle()
    of_optimizer, optimizer = optimizer_tensors("optimizer", state.optimizer, state.model.named_parameters())
    metadata = {
        "kind": "psp",
        **description,
        "cur_step": state.cur_step,
        "cur_nimg": state.cur_nimg,
        "best_loss": state.best_loss if np.isfinite(state.best_loss) else None,
        "settings": asdict(s),
        "optimizer": optimizer,
    }
    tensors = model_tensors(state.model) | of_optimizer
    if state.adversary is not None:
        more, optimizer = adversary_tensors(state.adversary)
        tensors, metadata = tensors | more, metadata | {"optimizers": {"w_discriminator": optimizer}}
    checkpoint.save(path, tensors, metadata)
    checkpoint.prune(path.parent, s.keep_checkpoints + spare)
    return path


def resume(state: TrainingState, run_dir: Path, s: TrainingSettings, description: Metadata) -> Path | None:
    """Resume from the newest intact checkpoint of run_dir, if there is one.

    Returns:
        The path of the checkpoint, or None if there is none yet.

    Raises:
        UserError: run_dir holds the training of another model or task.
    """
    newest = checkpoint.newest(run_dir)
    if newest is None:
        return None
    path, tensors, metadata = newest
    checkpoint.check_resumable(path, metadata, ("settings", "optimizer", "cur_step", "best_loss"))
    with reading(path, "a training's checkpoint", CheckpointError):
        batch_size = _restore(state, path, tensors, metadata, description)
    print(f"resuming from {path.name} at step {state.cur_step:,}")
    if batch_size != s.batch_size:
        print(f"the batch size was {batch_size} and is now {s.batch_size}, so the result will differ")
    return path


def _restore(
    state: TrainingState, path: Path, tensors: Mapping[str, Tensor], metadata: Metadata, description: Metadata
) -> int:
    """Restore the state from a checkpoint, and return its batch size."""
    for part, value in description.items():
        stored = metadata.get(part)
        if part == "encoder" and stored:
            stored = upgraded(stored)
        if stored != value:
            raise UserError(f"{path} was trained with another {part} than the one requested: use another exp_dir")
    load_module(state.model.encoder, tensors, "encoder")
    load_module(state.model.generator, tensors, "generator")
    state.model.latent_avg.copy_(tensors["latent_avg"])
    load_optimizer(state.optimizer, state.model.named_parameters(), tensors, metadata["optimizer"])
    if state.adversary is not None:
        load_adversary(state.adversary, tensors, metadata.get("optimizers", {}).get("w_discriminator"))
    batch_size = checkpoint.whole_number(metadata["settings"], "batch_size")
    state.cur_step = checkpoint.whole_number(metadata, "cur_step")
    state.cur_nimg = checkpoint.whole_number(metadata, "cur_nimg", state.cur_step * batch_size)
    best_loss = metadata["best_loss"]
    state.best_loss = float("inf") if best_loss is None else float(best_loss)
    return batch_size
