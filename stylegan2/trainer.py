"""The GAN loop: one step reads top to bottom like the paper; `train` fetches, steps, reports and saves."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from stylegan2 import losses, schedule
from stylegan2.augment import PIPELINES, augment, observe
from stylegan2.metrics.resolution_usage import resolution_usage
from stylegan2.networks.growing import fade_real, growth_of
from stylegan2.runtime import distributed, images
from stylegan2.runtime.device import place
from stylegan2.runtime.guard import Guard, check_finite
from stylegan2.runtime.interrupt import Interrupt
from stylegan2.runtime.randomness import draw_shard, normal_like, seed_step, seeded_normal
from stylegan2.runtime.stats import Averages, StatsWriter
from stylegan2.training_state import (
    Discriminator,
    Generator,
    TrainingSettings,
    TrainingState,
    build_state,
    check_fit,
    check_shares,
    checkpoint_path,
    load_networks,
    path_length_batch,
    resume,
    save,
    schedule_learning_rate,
)

PATH_LENGTH_DECAY = 0.01
USAGE_SAMPLES = 64
Batch = Tensor | list[Tensor]
"""images [N, C, R, R] in [-1, 1], or these and their labels, int64 [N]"""


def map_with_mixing(
    G: Generator, z: Tensor, probability: float, labels: Tensor | None = None, rows: int | None = None
) -> Tensor:
    """Map z and, for a share of samples, take the layers after a random crossover from a second latent.

    Mixing regularization (StyleGAN, section 3.1). z [N, z_dim], labels [N] -> ws [N, num_ws, w_dim].

    rows: how many of the num_ws are in use while the generator grows; by default all.
    """
    ws = G.mapping(z, labels=labels)  # [N, num_ws, w_dim]
    G.mapping.track_average(distributed.all_reduce_mean(ws[:, 0].detach().mean(0, keepdim=True)))
    if probability == 0:
        return ws
    n, device = z.shape[0], z.device
    crossover = draw_shard(lambda count: torch.randint(1, rows or G.num_ws, (count, 1), device=device), n)  # [N, 1]
    mixed = draw_shard(lambda count: torch.rand(count, 1, device=device), n) < probability  # [N, 1]
    crossover = torch.where(mixed, crossover, G.num_ws)
    keep = torch.arange(G.num_ws, device=z.device) < crossover  # [N, num_ws]
    return torch.where(keep[:, :, None], ws, G.mapping(normal_like(z), labels=labels))


def at_stage(
    state: TrainingState, stage: schedule.Stage, labels: Tensor | None, s: TrainingSettings
) -> tuple[Callable[[int], Tensor], Callable[[Tensor], Tensor], Callable[..., Tensor]]:
    """What a step is made of, with the stage of growing and the labels [N] of its samples filled in.

    Returns:
        latents: a count -> ws [count, num_ws, w_dim], mixed.
        synthesize: ws -> images [count, C, r, r], with fresh noise.
        judge: images, and of how many batches they are the parts -> logits, of images that were augmented first.
    """
    G, D, device = state.G, state.D, state.path_length_mean.device
    rows = G.num_ws - 2 * (G.img_resolution // stage.resolution).bit_length() + 2  # two for each resolution
    to_G = {"resolution": stage.resolution, "alpha": stage.alpha} if G.grows else {}
    to_D = {"alpha": stage.alpha} if G.grows else {}

    def latents(count: int) -> Tensor:
        z = draw_shard(lambda whole: torch.randn(whole, G.z_dim, device=device), count)  # [count, z_dim]
        return map_with_mixing(G, z, s.style_mixing, None if labels is None else labels[:count], rows)

    def judge(images: Tensor, parts: int = 1) -> Tensor:
        if s.augment != "none":
            images = augment(images, state.control.p, PIPELINES[s.augment])
        return D(images, parts, labels=None if labels is None else labels.repeat(parts), **to_D)

    return latents, partial(G.synthesis, noise_mode="random", **to_G), judge


def step(
    state: TrainingState,
    real: Tensor,
    s: TrainingSettings,
    r1_gamma: float,
    averages: Averages,
    labels: Tensor | None = None,
) -> None:
    """One training step on real images [N, C, R, R] in [-1, 1]: D, R1, G, path length, moving average.

    Fakes get the real images' labels [N], which are drawn from the data's distribution. Where several processes train,
    N is this one's share of the batch.
    NonFiniteError ends it before the first optimizer whose loss or gradient is NaN or infinite.
    """
    G, n, batch = state.G, len(real), len(real) * distributed.world_size()
    start, state.cur_nimg = state.cur_nimg, state.cur_nimg + batch  # shown, even where the step ends early
    stage = s.stage(start, G.img_resolution)
    latents, synthesize, judge = at_stage(state, stage, labels, s)
    seen: dict[str, Tensor] = {}  # to be logged, if all of the step is finite
    real = fade_real(real, *stage)  # [N, C, r, r], r = R where nothing grows

    # D: tell fakes from reals, both in one pass.
    with torch.no_grad():
        fake = synthesize(latents(n))  # [N, C, r, r]
    fake_logits, real_logits = judge(torch.cat([fake, real]), parts=2).chunk(2)  # [N, 1] each
    loss_D = LOSS_D[s.loss](fake_logits, real_logits)  # [N]
    update(state.opt_D, joined(loss_D, eager_penalty(judge, real, fake, real_logits, s, r1_gamma, seen)), "loss_D")

    # D: R1, lazily.
    if schedule.is_due(start, batch, s.lazy_r1_interval):
        penalty = seen["loss/r1"] = r1_penalty(judge, real)  # [N]
        update(state.opt_D, penalty.mean() * (r1_gamma / 2 * s.r1_interval), "r1")

    # G: make D take fakes for real. D is frozen, which spares its weight gradients.
    learn(state.opt_D, False)
    fake = synthesize(latents(n))  # [N, C, r, r]
    loss_G = LOSS_G[s.loss](judge(fake))  # [N]
    learn(state.opt_D, True)
    update(state.opt_G, loss_G.mean(), "loss_G")

    # G: path length, lazily.
    if schedule.is_due(start, batch, s.path_length_interval):
        ws = latents(path_length_batch(batch) // distributed.world_size())  # [N/2, num_ws, w_dim]
        lengths = losses.path_lengths(synthesize(ws), ws)  # [N/2]
        state.path_length_mean.lerp_(distributed.all_reduce_mean(lengths.detach().mean()), PATH_LENGTH_DECAY)
        penalty = (lengths - state.path_length_mean).square()  # [N/2]
        update(state.opt_G, penalty.mean() * (s.path_length_weight * s.path_length_interval), "path_length")
        seen |= {"path_length/length": lengths, "path_length/penalty": penalty}

    # Adaptive augmentation.
    adapt(state, real_logits.detach(), s)

    # Moving average of G.
    track(state.G_ema, G, schedule.ema_decay(state.cur_nimg, batch, s.ema_nimg, s.ema_rampup))
    remember_growth(state, stage)

    seen |= {"loss/D": loss_D, "loss/G": loss_G}
    seen |= {"logits/sign_real": real_logits.sign(), "logits/sign_fake": fake_logits.sign()}
    for name, values in seen.items():
        averages.add(name, values)


LOSS_D = {"logistic": losses.logistic_d, "wgan": losses.wgan_d, "hinge": losses.hinge_d}
LOSS_G = {"logistic": losses.logistic_g, "wgan": losses.wgan_g, "hinge": losses.hinge_g}


def eager_penalty(
    judge: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    real_logits: Tensor,
    s: TrainingSettings,
    r1_gamma: float,
    seen: dict[str, Tensor],
) -> Tensor | None:
    """What joins D's loss in every step, weighted, [N]: gradient penalty and drift, or R1 where it is not lazy.

    The penalties as they are go into `seen`, by the name under which they are logged.
    """
    if s.loss == "wgan":
        penalty = seen["loss/gradient_penalty"] = losses.gradient_penalty(judge, real, fake)  # [N]
        return s.gradient_penalty * penalty + s.drift * losses.drift(real_logits)
    if s.r1_interval and not s.lazy_r1:
        penalty = seen["loss/r1"] = r1_penalty(judge, real)  # [N]
        return r1_gamma / 2 * penalty
    return None


def joined(loss: Tensor, penalty: Tensor | None) -> Tensor:
    """[N] and [N] -> []."""
    return loss.mean() if penalty is None else (loss + penalty).mean()


def r1_penalty(judge: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    watched = real.detach().requires_grad_(True)
    return losses.r1(judge(watched), watched)  # [N]


def adapt(state: TrainingState, real_logits: Tensor, s: TrainingSettings) -> None:
    """More augmentation where D knows the real images too well (arXiv 2006.06676, section 3)."""
    if s.adapts:
        sign, batch = (
            float(distributed.all_reduce_mean(real_logits.sign().mean())),
            len(real_logits) * distributed.world_size(),
        )
        state.control = observe(state.control, sign, batch, target=s.ada_target, ramp_nimg=s.ada_nimg)


def learn(optimizer: torch.optim.Optimizer, wanted: bool) -> None:
    """Whether gradients are computed for the parameters of this optimizer."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.requires_grad_(wanted)


def remember_growth(state: TrainingState, stage: schedule.Stage) -> None:
    """So that a checkpoint's generators show what they have learned, whoever loads them."""
    for growth in (growth_of(state.G), growth_of(state.G_ema)):
        if growth is not None:
            growth.reached = stage


def update(optimizer: torch.optim.Optimizer, loss: Tensor, term: str) -> None:
    """`term` is the loss's name, for the message where it is not finite."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    loss = distributed.all_reduce_gradients(optimizer, loss)
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
    batches: Callable[[int], Iterator[Batch]],
    run_dir: Path,
    settings: TrainingSettings,
    device: torch.device,
    initial: Mapping[str, Tensor] | None = None,
) -> Path:
    """Train until settings.total_nimg, resuming from run_dir's newest intact checkpoint; returns the last checkpoint.

    Args:
        batches: given cur_nimg, an endless iterator of batches from there on: images [N, C, R, R] in [-1, 1], or these
            and their labels [N]. Each is of settings.batch_size_at images, or of this process's share of them.
        run_dir: gets checkpoints/, logs/ (TensorBoard), metrics.jsonl and samples/.
        initial: weights to start from where run_dir has no checkpoint, as `stylegan2.transfer` gives them.

    Raises:
        UserError: the settings do not fit the networks, or run_dir holds another run.

    The result does not depend on where a run was stopped and resumed (bit for bit on the CPU), nor, but for rounding,
    on how many processes call this together (see `runtime.distributed`), of which the first one writes.
    """
    s = settings
    check_fit(s, G.img_resolution, G.grows, G.has_styles)
    check_shares(s, G.img_resolution, D.mbstd_group, distributed.world_size())
    for module in (G, D, G_ema):
        place(module, device)
        distributed.broadcast([*module.parameters(), *module.buffers()])
    state = build_state(G, D, G_ema, s)
    if initial is not None:
        load_networks(state, initial)
    guard = Guard(s.max_nonfinite_steps, [G.w_avg, state.path_length_mean], resume(state, run_dir, s))
    distributed.check_equal(state.cur_nimg, "the processes do not see the same checkpoints: give all one --exp_dir")
    r1_gamma = schedule.r1_gamma(G.img_resolution, s.batch_size) if s.r1_gamma is None else s.r1_gamma
    averages, stats = Averages(), StatsWriter(run_dir, "cur_nimg", state.cur_nimg, idle=not distributed.is_first())
    stream = batches(state.cur_nimg)
    started, started_nimg, saved_nimg = time.perf_counter(), state.cur_nimg, state.cur_nimg
    progress = progress_bar(state.cur_nimg, s.total_nimg)

    with Interrupt() as interrupt, closing(stats), closing(progress):
        while state.cur_nimg < s.total_nimg and not is_asked_to_stop(interrupt):
            # Fetch, then step; every step draws from a seed of its own.
            real, labels = on_device(next(stream), device)  # [N, C, R, R], [N]
            n = real.shape[0] * distributed.world_size()
            seed_step(s.seed, 0, state.cur_nimg)
            schedule_learning_rate(state, s)
            with guard.step():
                step(state, real, s, r1_gamma, averages, labels)
            progress.update(n)

            # Report.
            if schedule.passed(state.cur_nimg, n, s.log_interval):
                values = distributed.all_reduce_mean_values(averages.pop()) | moving_values(state, s)
                speed = (state.cur_nimg - started_nimg) / (time.perf_counter() - started)
                started, started_nimg = time.perf_counter(), state.cur_nimg
                counts = {"train/skipped_steps": guard.pop(), "speed/images_per_second": speed}
                stats.scalars(state.cur_nimg, {**values, **counts})
                shown = {name: f"{values[f'loss/{name}']:.2f}" for name in "GD" if f"loss/{name}" in values}
                progress.set_postfix(shown, refresh=False)
            if distributed.is_first() and schedule.passed(state.cur_nimg, n, s.image_interval):
                sheet = sample_sheet(state.G_ema, device)
                stats.image(state.cur_nimg, "samples", sheet)
                images.write_image(run_dir / "samples" / f"{state.cur_nimg:09d}.png", sheet)
                stats.plot(state.cur_nimg, usage_values(state.G_ema, device))

            # Save, but not while steps fail: the state may be what they fail of.
            due = schedule.passed(state.cur_nimg, state.cur_nimg - saved_nimg, s.save_interval)
            if due and not guard.failing:
                guard.saved(save(state, run_dir, s, s.keep_checkpoints))
                saved_nimg = state.cur_nimg

        if saved_nimg != state.cur_nimg:
            save(state, run_dir, s, s.keep_checkpoints + guard.failing)
        distributed.barrier()  # a launcher may end all processes as soon as one has ended
    if interrupt.requested:
        sys.exit(interrupt.exit_code)
    return checkpoint_path(run_dir, state.cur_nimg)


def progress_bar(cur_nimg: int, total_nimg: int) -> tqdm:
    hidden = not distributed.is_first()
    return tqdm(total=total_nimg, initial=cur_nimg, unit="img", desc="training", smoothing=0.05, disable=hidden)


def is_asked_to_stop(interrupt: Interrupt) -> bool:
    """Whether a signal came to any of the processes; then it counts for all."""
    signum = distributed.all_reduce_max(interrupt.signum or 0)
    if signum and not interrupt.requested:
        interrupt.signum = signum
    return signum > 0


def on_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """(images [N, C, R, R], labels [N] or None)"""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True), None
    real, labels = (part.to(device, non_blocking=True) for part in batch)
    return real, labels


def moving_values(state: TrainingState, s: TrainingSettings) -> dict[str, float]:
    """To be logged: what changes over training by itself."""
    values = {} if s.augment == "none" else {"augment/p": state.control.p}
    if growth := growth_of(state.G):
        resolution, alpha = growth.reached
        values |= {"growing/resolution": resolution, "growing/alpha": alpha}
    return values


def usage_values(G: Generator, device: torch.device) -> dict[str, float]:
    """To be logged: how much of the image each resolution makes (StyleGAN2, figure 8), where the architecture tells."""
    if getattr(G.synthesis, "architecture", None) != "skip":
        return {}
    labels = torch.arange(USAGE_SAMPLES, device=device) % G.num_classes if G.num_classes else None
    with torch.no_grad():
        ws = G.mapping(seeded_normal((USAGE_SAMPLES, G.z_dim), seed=0, device=device), labels=labels)
    return {f"resolution_usage/{resolution}": share for resolution, share in resolution_usage(G, ws).items()}


@torch.no_grad()
def sample_sheet(G: Generator, device: torch.device, columns: int = 8, rows: int = 8) -> Any:
    """A grid of the same latents at every call, uint8 [H, W, C]; where G is conditioned on classes, a row has one."""
    z = seeded_normal((columns * rows, G.z_dim), seed=0, device=device)
    classes = torch.arange(rows, device=device).repeat_interleave(columns)  # [rows * columns]
    labels = (classes % G.num_classes).split(16) if G.num_classes else [None] * len(z)
    samples = [G(part, labels=own) for part, own in zip(z.split(16), labels, strict=False)]  # [16, C, R, R] each
    return images.grid(torch.cat(samples), columns)
