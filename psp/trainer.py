"""The encoder loop: a step reads top to bottom like the paper; `train` fetches, steps, reports, validates and saves."""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from psp.encoders import upgraded
from psp.encoders.e4e import unlocked_deltas
from psp.evaluation.metrics import Metrics
from psp.latent_discriminator import (
    Adversary,
    adversary_tensors,
    build_adversary,
    deception_loss,
    load_adversary,
    train_discriminator,
)
from psp.losses import WeightedLosses
from psp.model import PSp
from psp.optimizers import Ranger
from stylegan2.runtime import checkpoint, images
from stylegan2.runtime.device import place
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.guard import Guard, check_finite
from stylegan2.runtime.interrupt import Interrupt
from stylegan2.runtime.randomness import seed_step
from stylegan2.runtime.stats import Averages, StatsWriter

OPTIMIZERS = {"ranger": Ranger, "adam": torch.optim.Adam}


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the encoder loop, counted in steps as in the published code."""

    max_steps: int = 300_000
    """train until this many steps"""
    batch_size: int = 8
    """images a step"""
    test_batch_size: int = 8
    """images a validation step"""
    learning_rate: float = 1e-4
    """of the optimizer"""
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
        counts = ("max_steps", "batch_size", "test_batch_size", "keep_checkpoints", "max_nonfinite_steps")
        for name in (*counts, "board_interval", "image_interval", "val_interval", "save_interval"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if self.optim_name not in OPTIMIZERS:
            raise UserError(f"--optim_name must be {' or '.join(OPTIMIZERS)}, not {self.optim_name!r}")
        for name in ("learning_rate", "w_discriminator_lr"):
            if getattr(self, name) <= 0:
                raise UserError(f"--{name} must be positive, not {getattr(self, name)}")
        for name in ("seed", "progressive_start", "progressive_step_every", "w_discriminator_lambda", "w_pool_size"):
            if (getattr(self, name) or 0) < 0:
                raise UserError(f"--{name} must not be negative, but is {getattr(self, name)}")


@dataclass
class TrainingState:
    """All that a step changes: what a checkpoint holds."""

    model: PSp
    optimizer: torch.optim.Optimizer
    adversary: Adversary | None = None
    cur_step: int = 0
    best_loss: float = float("inf")


def learning_rate(cur_step: int, s: TrainingSettings) -> float:
    """The learning rate of the step that starts at cur_step."""
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
    """The generator is frozen unless it is trained too; the encoder's batch statistics are learned."""
    model.requires_grad_(False).eval()
    trained = model if s.train_decoder else model.encoder
    trained.requires_grad_(True)
    model.encoder.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = OPTIMIZERS[s.optim_name](parameters, lr=s.learning_rate)
    weight = s.w_discriminator_lambda
    if weight is None:
        weight = model.encoder.default_w_discriminator_lambda
    if weight == 0:
        return TrainingState(model, optimizer)
    seed_step(s.seed, 0, 0)  # the discriminator's first weights
    sizes = (model.generator.w_dim, weight, s.w_discriminator_lr, s.w_pool_size)
    return TrainingState(model, optimizer, build_adversary(*sizes, model.latent_avg.device))


def step(state: TrainingState, source: Tensor, target: Tensor, losses: WeightedLosses, averages: Averages) -> None:
    """One training step: source [N, C, S, S] -> codes -> image, compared with target [N, 3, T, T].

    An encoder that corrects itself is compared after each of its passes; their gradients add up.
    NonFiniteError ends it before the first optimizer whose loss or gradient is NaN or infinite.
    """
    model, adversary = state.model, state.adversary
    start, state.cur_step = state.cur_step, state.cur_step + 1  # counts, even where the step ends early
    terms: dict[str, list[Tensor]] = defaultdict(list)  # of each pass
    w_plus = rendering = None
    state.optimizer.zero_grad(set_to_none=True)
    for _ in range(model.iterations):
        w_plus = model.refine(source, w_plus, rendering)  # [N, num_ws, w_dim]
        rendering = model.decode(w_plus, noise_mode="random")  # [N, 3, R, R]
        output = shrink(rendering, target.shape[-1])  # [N, 3, T, T]
        values = losses(source=source, target=target, output=output, w_plus=w_plus, latent_avg=model.latent_avg)
        loss = losses.total(values)
        if adversary is not None:
            values["w_discriminator"] = deception_loss(adversary.network, learning_rows(model, w_plus))  # [N]
            loss = loss + adversary.weight * values["w_discriminator"].mean()
        loss.backward()
        for name, value in values.items():
            terms[f"loss_{name}"].append(value.detach())
        terms["loss"].append(loss.detach())
    found = {name: torch.stack(values) for name, values in terms.items()}  # [passes, N], the total [passes]
    check_finite(state.optimizer, found)
    state.optimizer.step()
    for name, values in found.items():
        averages.add(f"train/{name}", values)

    if adversary is not None and w_plus is not None:
        with torch.no_grad():
            z = torch.randn(len(source), model.generator.z_dim, device=source.device)
            real = model.generator.mapping(z)[:, 0]  # [N, w_dim]
        for name, value in train_discriminator(adversary, real, learning_rows(model, w_plus.detach()), start).items():
            averages.add(f"train/loss_{name}", value)


def learning_rows(model: PSp, w_plus: Tensor) -> Tensor:
    """The rows of the codes that learn: all, unless they are deltas of which some still wait. [N, rows, w_dim]."""
    unlocked = model.encoder.unlocked
    return w_plus if unlocked is None else w_plus[:, : unlocked + 1]  # [N, rows, w_dim]


def written(state: TrainingState) -> list[Tensor]:
    """What a step writes before it knows whether its losses are finite: batch statistics and pools of codes."""
    pools = (state.adversary.real_pool, state.adversary.fake_pool) if state.adversary is not None else ()
    return [buffer for module in (state.model.encoder, *pools) for buffer in module.buffers()]


def shrink(x: Tensor, size: int) -> Tensor:
    """Area-average to `size` pixels, as the paper does before its losses; smaller images stay. [N, C, ., .]."""
    return x if x.shape[-1] <= size else F.adaptive_avg_pool2d(x, size)  # [N, C, size, size]


def train(
    model: PSp,
    losses: WeightedLosses,
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]],
    held_out: Sequence[tuple[Tensor, Tensor]],
    metrics: Metrics,
    show_source: Callable[[Tensor], Tensor],
    description: dict[str, Any],
    run_dir: Path,
    settings: TrainingSettings,
    device: torch.device,
) -> Path:
    """Train until settings.max_steps, resuming from run_dir's newest intact checkpoint; returns the last checkpoint.

    Args:
        batches: given a position in the stream of images, endless (source, target) batches from there on.
        held_out: batches of (source, target) for validation.
        metrics: what validation measures.
        show_source: makes source batches visible, [N, C, S, S] -> [N, 3, S, S].
        description: what to write beside the weights (encoder, generator, task).
        run_dir: gets checkpoints/, logs/ (TensorBoard) and metrics.jsonl.

    The result does not depend on where a run was stopped and resumed (bit for bit on the CPU).
    """
    s = settings
    for module in (model, losses, metrics):
        place(module, device)
    state = build_state(model, s)
    guard = Guard(s.max_nonfinite_steps, written(state), resume(state, run_dir, s, description))
    averages, stats = Averages(), StatsWriter(run_dir, "cur_step", state.cur_step)
    stream = batches(state.cur_step * s.batch_size)
    started, started_step, saved_step = time.perf_counter(), state.cur_step, state.cur_step
    progress = tqdm(total=s.max_steps, initial=state.cur_step, unit="step", desc="training", smoothing=0.05)

    with closing(stats), closing(progress), Interrupt() as interrupt:
        while state.cur_step < s.max_steps and not interrupt.requested:
            # Fetch, then step; every step draws from a seed of its own.
            source, target = (batch.to(device, non_blocking=True) for batch in next(stream))
            seed_step(s.seed, 0, state.cur_step)
            schedule(state, s)
            with guard.step():
                step(state, source, target, losses, averages)
            progress.update()

            # Report.
            if state.cur_step % s.board_interval == 0:
                values = averages.pop()
                speed = (state.cur_step - started_step) * s.batch_size / (time.perf_counter() - started)
                started, started_step = time.perf_counter(), state.cur_step
                rates = {
                    "train/learning_rate": learning_rate(state.cur_step - 1, s),
                    "train/skipped_steps": guard.pop(),
                    "speed/images_per_second": speed,
                }
                stats.scalars(state.cur_step, {**values, **similarities(values, losses), **rates})
                progress.set_postfix({k[6:]: f"{v:.3f}" for k, v in values.items() if k == "train/loss"}, refresh=False)
            if state.cur_step % s.image_interval == 0:
                stats.image(state.cur_step, "train/source_output_target", rows(model, source, target, show_source))

            # Validate; save, but not while steps fail: the state may be what they fail of.
            if state.cur_step % s.val_interval == 0 or state.cur_step == s.max_steps:
                validate(state, losses, held_out, metrics, stats, run_dir, description, s, show_source)
            due = state.cur_step // s.save_interval > saved_step // s.save_interval
            if due and not guard.failing:
                guard.saved(save(state, checkpoint_path(run_dir, state.cur_step), description, s))
                checkpoint.prune(run_dir / "checkpoints", s.keep_checkpoints)
                saved_step = state.cur_step

    if saved_step != state.cur_step:
        save(state, checkpoint_path(run_dir, state.cur_step), description, s)
        checkpoint.prune(run_dir / "checkpoints", s.keep_checkpoints + guard.failing)
    if interrupt.requested:
        sys.exit(interrupt.exit_code)
    return checkpoint_path(run_dir, state.cur_step)


def similarities(values: dict[str, float], losses: WeightedLosses) -> dict[str, float]:
    """Identity losses are 1 - similarity; people read the similarity."""
    return {
        f"train/similarity_{name}": 1 - values[f"train/loss_{name}"]
        for name in losses.weights
        if name.startswith("id") and f"train/loss_{name}" in values
    }


@torch.no_grad()
def validate(
    state: TrainingState,
    losses: WeightedLosses,
    held_out: Sequence[tuple[Tensor, Tensor]],
    metrics: Metrics,
    stats: StatsWriter,
    run_dir: Path,
    description: dict[str, Any],
    s: TrainingSettings,
    show_source: Callable[[Tensor], Tensor],
) -> None:
    """Losses and metrics on held-out pairs; the lowest loss so far is kept as best_model."""
    model, averages = state.model, Averages()
    device = model.latent_avg.device
    model.encoder.eval()
    for source, target in held_out:
        source, target = source.to(device), target.to(device)
        w_plus = model.encode(source)  # [N, num_ws, w_dim]
        output = shrink(model.decode(w_plus), target.shape[-1])  # [N, 3, T, T]
        values = losses(source=source, target=target, output=output, w_plus=w_plus, latent_avg=model.latent_avg)
        averages.add("val/loss", losses.total(values).repeat(len(source)))
        for name, value in values.items():
            averages.add(f"val/loss_{name}", value)
        for name, value in metrics.reconstruction(output, target).items():
            averages.add(f"val/{metrics.title(name)}", value)
    means = averages.pop()
    stats.scalars(state.cur_step, means)
    source, target = held_out[0]
    stats.image(state.cur_step, "val/source_output_target", rows(model, source.to(device), target, show_source))
    model.encoder.train()
    tqdm.write(f"step {state.cur_step}: " + ", ".join(f"{k[4:]} {v:.4f}" for k, v in means.items()))
    if means["val/loss"] < state.best_loss:
        state.best_loss = means["val/loss"]
        save(state, run_dir / "checkpoints" / "best_model.safetensors", description, s)


@torch.no_grad()
def rows(
    model: PSp, source: Tensor, target: Tensor, show_source: Callable[[Tensor], Tensor], count: int = 8
) -> np.ndarray:
    """source | output | target, one sample a row, uint8 [H, W, 3]. Batch statistics are left as they are."""
    was_training = model.encoder.training
    model.encoder.eval()
    output = model(source[:count])  # [N, 3, R, R]
    model.encoder.train(was_training)
    size = output.shape[2:]
    shown = [show_source(source[:count]), output, target[:count].to(output.device)]
    columns = [F.interpolate(x.cpu(), size, mode="bilinear", antialias=True) for x in shown]  # 3 x [N, 3, R, R]
    return images.grid(torch.stack(columns, dim=1).flatten(0, 1), columns=3)


# --- checkpoints ---


def checkpoint_path(run_dir: Path, cur_step: int) -> Path:
    return checkpoint.checkpoint_path(run_dir, "iteration", cur_step)


def save(state: TrainingState, path: Path, description: dict[str, Any], s: TrainingSettings) -> Path:
    """Write the whole pair and the optimizer; `psp.load` reads the first and ignores the second."""
    optimizer_tensors, optimizer = checkpoint.optimizer_tensors(
        "optimizer", state.optimizer, state.model.named_parameters()
    )
    metadata = {
        "kind": "psp",
        **description,
        "cur_step": state.cur_step,
        "best_loss": state.best_loss if np.isfinite(state.best_loss) else None,
        "settings": asdict(s),
        "optimizer": optimizer,
    }
    tensors = model_tensors(state.model) | optimizer_tensors
    if state.adversary is not None:
        more, optimizer = adversary_tensors(state.adversary)
        tensors, metadata = tensors | more, metadata | {"optimizers": {"w_discriminator": optimizer}}
    checkpoint.save(path, tensors, metadata)
    return path


def model_tensors(model: PSp) -> dict[str, Tensor]:
    return {
        **checkpoint.module_tensors("encoder", model.encoder),
        **checkpoint.module_tensors("generator", model.generator),
        "latent_avg": model.latent_avg,
    }


def resume(state: TrainingState, run_dir: Path, s: TrainingSettings, description: dict[str, Any]) -> Path | None:
    """Continue from the newest intact checkpoint of run_dir, if there is one."""
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
            raise UserError(f"{path} was trained with another {part} than was asked for: use another --exp_dir")
    batch_size = metadata["settings"]["batch_size"]
    if batch_size != s.batch_size:
        raise UserError(f"{path} was trained with batch size {batch_size}: keep it, or use another --exp_dir")
    checkpoint.load_module(state.model.encoder, tensors, "encoder")
    checkpoint.load_module(state.model.generator, tensors, "generator")
    state.model.latent_avg.copy_(tensors["latent_avg"])
    checkpoint.load_optimizer(state.optimizer, state.model.named_parameters(), tensors, metadata["optimizer"])
    if state.adversary is not None:
        load_adversary(state.adversary, tensors, metadata.get("optimizers", {}).get("w_discriminator"))
    state.cur_step = metadata["cur_step"]
    state.best_loss = float("inf") if metadata["best_loss"] is None else metadata["best_loss"]
    print(f"resuming from {path.name} at step {state.cur_step:,}")
    return path
