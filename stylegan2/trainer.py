"""The GAN loop: one step reads top to bottom like the paper; `train` fetches, steps, reports and saves."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from stylegan2 import losses, schedule
from stylegan2.networks.stylegan2 import Discriminator, Generator
from stylegan2.runtime import checkpoint, images
from stylegan2.runtime.device import place
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.guard import Guard, check_finite
from stylegan2.runtime.interrupt import Interrupt
from stylegan2.runtime.randomness import seed_step, seeded_normal
from stylegan2.runtime.stats import Averages, StatsWriter


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the GAN loop. Images are counted as in the papers: cur_nimg is the number of real images shown."""

    total_nimg: int = 25_000_000
    """train until this many real images were shown"""
    batch_size: int = 32
    """images a step"""
    learning_rate: float = 0.002
    """Adam's, for both networks (before the correction for lazy regularization)"""
    r1_gamma: float | None = None
    """weight of R1; by default 0.0002 * resolution^2 / batch size"""
    r1_interval: int = 16
    """steps between R1 phases; 0 turns R1 off"""
    path_length_weight: float = 2.0
    """weight of path length regularization"""
    path_length_interval: int = 4
    """steps between path length phases; 0 turns it off"""
    style_mixing: float = 0.9
    """probability that a sample mixes two latents"""
    ema_nimg: float = 10_000
    """half-life of the generator's moving average, in images"""
    ema_rampup: float | None = 0.05
    """early on the half-life is at most this share of cur_nimg"""
    log_interval: int = 1_000
    """images between entries in TensorBoard and metrics.jsonl"""
    image_interval: int = 10_000
    """images between sample grids"""
    save_interval: int = 50_000
    """images between checkpoints"""
    keep_checkpoints: int = 3
    """how many checkpoints stay on disk"""
    max_nonfinite_steps: int = 20
    """stop when so many steps in a row were skipped because a loss or a gradient was NaN or infinite"""
    seed: int = 0
    """seed of everything random"""

    def __post_init__(self) -> None:
        counts = ("total_nimg", "batch_size", "keep_checkpoints", "max_nonfinite_steps")
        for name in (*counts, "log_interval", "image_interval", "save_interval"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1, not {getattr(self, name)}")
        for name in ("r1_interval", "path_length_interval", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name} must not be negative, but is {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise UserError(f"--learning_rate must be positive, not {self.learning_rate}")


@dataclass
class TrainingState:
    """All that a step changes: what a checkpoint holds."""

    G: Generator
    D: Discriminator
    G_ema: Generator
    opt_G: torch.optim.Optimizer
    opt_D: torch.optim.Optimizer
    path_length_mean: Tensor  # [], moving average of path lengths
    cur_nimg: int = 0


PATH_LENGTH_DECAY = 0.01
PATH_LENGTH_BATCH_SHRINK = 2  # the paper regularizes on half the batch


def build_state(G: Generator, D: Discriminator, G_ema: Generator, s: TrainingSettings) -> TrainingState:
    betas = (0.0, 0.99)
    lr_G, betas_G = schedule.lazy_adam(s.learning_rate, betas, s.path_length_interval)
    lr_D, betas_D = schedule.lazy_adam(s.learning_rate, betas, s.r1_interval)
    G_ema.load_state_dict(G.state_dict())
    return TrainingState(
        G.train(),
        D.train(),
        G_ema.eval().requires_grad_(False),
        opt_G=torch.optim.Adam(G.parameters(), lr=lr_G, betas=betas_G, eps=1e-8),
        opt_D=torch.optim.Adam(D.parameters(), lr=lr_D, betas=betas_D, eps=1e-8),
        path_length_mean=torch.zeros([], device=next(G.parameters()).device),
    )


def map_with_mixing(G: Generator, z: Tensor, probability: float) -> Tensor:
    """Map z and, for a share of samples, take the layers after a random crossover from a second latent.

    Mixing regularization (StyleGAN, section 3.1). z [N, z_dim] -> ws [N, num_ws, w_dim].
    """
    ws = G.mapping(z)  # [N, num_ws, w_dim]
    G.mapping.track_average(ws[:, 0].detach())
    if probability == 0:
        return ws
    n = z.shape[0]
    crossover = torch.randint(1, G.num_ws, (n, 1), device=z.device)
    crossover = torch.where(torch.rand(n, 1, device=z.device) < probability, crossover, G.num_ws)
    keep = torch.arange(G.num_ws, device=z.device) < crossover  # [N, num_ws]
    return torch.where(keep[:, :, None], ws, G.mapping(torch.randn_like(z)))


def step(state: TrainingState, real: Tensor, s: TrainingSettings, r1_gamma: float, averages: Averages) -> None:
    """One training step on real images [N, C, R, R] in [-1, 1]: D, R1, G, path length, moving average.

    NonFiniteError ends it before the first optimizer whose loss or gradient is NaN or infinite.
    """
    G, D, n, device = state.G, state.D, real.shape[0], real.device
    start, state.cur_nimg = state.cur_nimg, state.cur_nimg + n  # shown, even where the step ends early
    latents = lambda count: torch.randn(count, G.z_dim, device=device)  # noqa: E731

    # D: tell fakes from reals, both in one pass.
    with torch.no_grad():
        fake = G.synthesis(map_with_mixing(G, latents(n), s.style_mixing), noise_mode="random")  # [N, C, R, R]
    fake_logits, real_logits = D(torch.cat([fake, real]), parts=2).chunk(2)  # [N, 1] each
    loss_D = losses.logistic_d(fake_logits, real_logits)  # [N]
    update(state.opt_D, loss_D.mean(), "loss_D")

    # D: R1, lazily.
    if schedule.is_due(start, n, s.r1_interval):
        watched = real.detach().requires_grad_(True)
        penalty = losses.r1(D(watched), watched)  # [N]
        update(state.opt_D, penalty.mean() * (r1_gamma / 2 * s.r1_interval), "r1")
        averages.add("loss/r1", penalty)

    # G: make D take fakes for real. D is frozen meanwhile, which spares its weight gradients.
    D.requires_grad_(False)
    fake = G.synthesis(map_with_mixing(G, latents(n), s.style_mixing), noise_mode="random")  # [N, C, R, R]
    loss_G = losses.logistic_g(D(fake))  # [N]
    D.requires_grad_(True)
    update(state.opt_G, loss_G.mean(), "loss_G")

    # G: path length, lazily.
    if schedule.is_due(start, n, s.path_length_interval):
        half = max(1, n // PATH_LENGTH_BATCH_SHRINK)
        ws = map_with_mixing(G, latents(half), s.style_mixing)  # [N/2, num_ws, w_dim]
        lengths = losses.path_lengths(G.synthesis(ws, noise_mode="random"), ws)  # [N/2]
        state.path_length_mean.lerp_(lengths.detach().mean(), PATH_LENGTH_DECAY)
        penalty = (lengths - state.path_length_mean).square()  # [N/2]
        update(state.opt_G, penalty.mean() * (s.path_length_weight * s.path_length_interval), "path_length")
        averages.add("path_length/length", lengths)
        averages.add("path_length/penalty", penalty)

    # Moving average of G.
    decay = schedule.ema_decay(state.cur_nimg, n, s.ema_nimg, s.ema_rampup)
    track(state.G_ema, G, decay)

    averages.add("loss/D", loss_D)
    averages.add("loss/G", loss_G)
    averages.add("logits/sign_real", real_logits.sign())
    averages.add("logits/sign_fake", fake_logits.sign())


def update(optimizer: torch.optim.Optimizer, loss: Tensor, term: str) -> None:
    """`term` is the loss's name, for the message where it is not finite."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    check_finite(optimizer, {term: loss})
    optimizer.step()


@torch.no_grad()
def track(average: nn.Module, module: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * module; buffers are copied."""
    for kept, current in zip(average.parameters(), module.parameters(), strict=True):
        kept.lerp_(current, 1 - decay)
    for kept, current in zip(average.buffers(), module.buffers(), strict=True):
        kept.copy_(current)


def train(
    G: Generator,
    D: Discriminator,
    G_ema: Generator,
    batches: Callable[[int], Iterator[Tensor]],
    run_dir: Path,
    settings: TrainingSettings,
    device: torch.device,
) -> Path:
    """Train until settings.total_nimg, resuming from run_dir's newest intact checkpoint; returns the last checkpoint.

    Args:
        batches: given cur_nimg, an endless iterator of real images [N, C, R, R] in [-1, 1] from there on.
        run_dir: gets checkpoints/, logs/ (TensorBoard), metrics.jsonl and samples/.

    The result does not depend on where a run was stopped and resumed (bit for bit on the CPU).
    """
    s = settings
    for module in (G, D, G_ema):
        place(module, device)
    state = build_state(G, D, G_ema, s)
    guard = Guard(s.max_nonfinite_steps, [G.w_avg, state.path_length_mean], resume(state, run_dir, s))
    r1_gamma = schedule.r1_gamma(G.img_resolution, s.batch_size) if s.r1_gamma is None else s.r1_gamma
    averages, stats = Averages(), StatsWriter(run_dir, "cur_nimg", state.cur_nimg)
    stream = batches(state.cur_nimg)
    started, started_nimg, saved_nimg = time.perf_counter(), state.cur_nimg, state.cur_nimg
    progress = tqdm(total=s.total_nimg, initial=state.cur_nimg, unit="img", desc="training", smoothing=0.05)

    with closing(stats), closing(progress), Interrupt() as interrupt:
        while state.cur_nimg < s.total_nimg and not interrupt.requested:
            # Fetch, then step; every step draws from a seed of its own.
            real = next(stream).to(device, non_blocking=True)  # [N, C, R, R]
            seed_step(s.seed, 0, state.cur_nimg)
            with guard.step():
                step(state, real, s, r1_gamma, averages)
            progress.update(real.shape[0])

            # Report.
            if schedule.passed(state.cur_nimg, s.batch_size, s.log_interval):
                values = averages.pop()
                speed = (state.cur_nimg - started_nimg) / (time.perf_counter() - started)
                started, started_nimg = time.perf_counter(), state.cur_nimg
                counts = {"train/skipped_steps": guard.pop(), "speed/images_per_second": speed}
                stats.scalars(state.cur_nimg, {**values, **counts})
                shown = {name: f"{values[f'loss/{name}']:.2f}" for name in "GD" if f"loss/{name}" in values}
                progress.set_postfix(shown, refresh=False)
            if schedule.passed(state.cur_nimg, s.batch_size, s.image_interval):
                sheet = sample_sheet(state.G_ema, device)
                stats.image(state.cur_nimg, "samples", sheet)
                images.write_image(run_dir / "samples" / f"{state.cur_nimg:09d}.png", sheet)

            # Save, but not while steps fail: the state may be what they fail of.
            due = schedule.passed(state.cur_nimg, state.cur_nimg - saved_nimg, s.save_interval)
            if due and not guard.failing:
                guard.saved(save(state, run_dir, s))
                checkpoint.prune(run_dir / "checkpoints", s.keep_checkpoints)
                saved_nimg = state.cur_nimg

    if saved_nimg != state.cur_nimg:
        save(state, run_dir, s)
        checkpoint.prune(run_dir / "checkpoints", s.keep_checkpoints + guard.failing)
    if interrupt.requested:
        sys.exit(interrupt.exit_code)
    return checkpoint_path(run_dir, state.cur_nimg)


@torch.no_grad()
def sample_sheet(G: Generator, device: torch.device, columns: int = 8, rows: int = 8) -> Any:
    """A grid of the same latents at every call, uint8 [H, W, C]."""
    z = seeded_normal((columns * rows, G.z_dim), seed=0, device=device)
    samples = torch.cat([G(part) for part in z.split(16)])  # [rows * columns, C, R, R]
    return images.grid(samples, columns)


# --- checkpoints ---


def checkpoint_path(run_dir: Path, cur_nimg: int) -> Path:
    return checkpoint.checkpoint_path(run_dir, "network", cur_nimg)


def save(state: TrainingState, run_dir: Path, s: TrainingSettings) -> Path:
    tensors = {"path_length_mean": state.path_length_mean}
    for name in ("G", "D", "G_ema"):
        tensors |= checkpoint.module_tensors(name, getattr(state, name))
    scalars = {}
    for name, module in (("opt_G", state.G), ("opt_D", state.D)):
        optimizer_tensors, scalars[name] = checkpoint.optimizer_tensors(
            name, getattr(state, name), module.named_parameters()
        )
        tensors |= optimizer_tensors
    metadata = {
        "kind": "stylegan2",
        "generator": {"name": "stylegan2", **state.G.config},
        "cur_nimg": state.cur_nimg,
        "settings": asdict(s),
        "optimizers": scalars,
    }
    path = checkpoint_path(run_dir, state.cur_nimg)
    checkpoint.save(path, tensors, metadata)
    return path


def resume(state: TrainingState, run_dir: Path, s: TrainingSettings) -> Path | None:
    """Continue from the newest intact checkpoint of run_dir, if there is one, with this run's learning rate."""
    newest = checkpoint.newest(run_dir)
    if newest is None:
        return None
    path, tensors, metadata = newest
    checkpoint.check_resumable(path, metadata, ("settings", "optimizers", "cur_nimg"))
    if metadata.get("generator") != {"name": "stylegan2", **state.G.config}:
        raise UserError(f"{path} holds another architecture than was asked for: use another --exp_dir")
    batch_size = metadata["settings"]["batch_size"]
    if batch_size != s.batch_size:
        raise UserError(f"{path} was trained with batch size {batch_size}: keep it, or use another --exp_dir")
    for name in ("G", "D", "G_ema"):
        checkpoint.load_module(getattr(state, name), tensors, name)
    for name, module in (("opt_G", state.G), ("opt_D", state.D)):
        optimizer = getattr(state, name)
        rate = optimizer.param_groups[0]["lr"]
        checkpoint.load_optimizer(optimizer, module.named_parameters(), tensors, metadata["optimizers"][name])
        optimizer.param_groups[0]["lr"] = rate
    state.path_length_mean.copy_(tensors["path_length_mean"])
    state.cur_nimg = metadata["cur_nimg"]
    print(f"resuming from {path.name} at {state.cur_nimg:,} images")
    return path
