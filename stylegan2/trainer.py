"""The GAN loop: one step reads top to bottom like the paper; `train` fetches, steps, reports and saves."""

import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from stylegan2 import losses, schedule
from stylegan2.augment import PIPELINES, adapt, augment, observe
from stylegan2.metrics.resolution_usage import resolution_usage
from stylegan2.networks.growing import fade_real, growth_of
from stylegan2.networks.precision import set_precision
from stylegan2.networks.protocols import Discriminator, Generator
from stylegan2.networks.sizes import num_ws_at
from stylegan2.runtime import distributed, images
from stylegan2.runtime.device import peak_memory_mb, place, set_deterministic
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.interrupt import Interrupt
from stylegan2.runtime.module import Module
from stylegan2.runtime.precision import set_precision_flags
from stylegan2.runtime.randomness import draw_shard, normal_like, rehearsal, rounds, seed_step, seeded_normal
from stylegan2.runtime.stats import Averages, StatsWriter
from stylegan2.training_state import (
    TrainingSettings,
    TrainingState,
    build_state,
    check_batches,
    check_fit,
    checkpoint_path,
    load_networks,
    number_of_rounds,
    path_length_batch,
    resume,
    save,
    save_best,
    schedule_learning_rate,
)

PATH_LENGTH_DECAY = 0.01
USAGE_SAMPLES = 64
Batch = Tensor | list[Tensor]
"""images [N, C, R, R] in [-1, 1], or these and their labels, int64 [N]"""


def step(
    state: TrainingState,
    real: Tensor,
    labels: Tensor | None = None,
    *,
    settings: TrainingSettings,
    r1_gamma: float,
    averages: Averages,
    guard: Guard,
) -> None:
    """Take one training step: D, R1, G, path length, moving average. Nothing in it waits for the device.

    A phase works through its batch in rounds of at most `settings.batch_gpu` images, whose gradients add up. Once a
    loss or a gradient is NaN or infinite no optimizer moves any more, and the step counts as skipped.

    Args:
        state: Changed in place.
        real: Images [N, C, R, R] in [-1, 1]; where several processes train, this one's share of the batch.
        labels: Their classes, int64 [N], which fakes get too: they are drawn from the data's distribution.
        settings: Those of the training.
        r1_gamma: Weight of R1.
        averages: Gets the values to be logged.
        guard: Surrounds this step (`with guard.step():`).
    """
    s, G, D, device = settings, state.G, state.D, real.device
    n, batch = len(real), len(real) * distributed.world_size()
    start, state.cur_nimg = state.cur_nimg, state.cur_nimg + batch
    stage = s.stage(start, G.img_resolution)
    real = fade_real(real, *stage)  # [N, C, r, r], r = R where nothing grows
    count = number_of_rounds(n, s.batch_gpu, math.gcd(batch, D.mbstd_group))
    seen: defaultdict[str, list[Tensor]] = defaultdict(list)  # to be logged

    # D: tell fakes from reals, both in one pass.
    terms, w = [], []  # of each round: its part of the loss, and the w that it drew
    state.opt_D.zero_grad(set_to_none=True)
    for k in rounds(count, device):
        images, classes = real[k::count], rows(labels, k, count)  # [M, C, r, r], [M]; M = N where all is done at once
        with torch.no_grad():
            fake, ws = run_G(G, len(images), classes, stage, s)  # [M, C, r, r], [M, num_ws, w_dim]
        both, twice = torch.cat([fake, images]), None if classes is None else classes.repeat(2)
        fake_logits, real_logits = run_D(D, both, twice, stage, s, state.control.p, parts=2).chunk(2)  # [M, 1] each
        loss = losses.OF_D[s.loss](fake_logits, real_logits)  # [M]
        seen["loss/D"].append(loss.detach())
        if s.loss == "wgan":
            between = losses.interpolate(fake, images)  # [M, C, r, r]
            penalty = losses.gradient_penalty(run_D(D, between, classes, stage, s, state.control.p), between)  # [M]
            loss = loss + s.gradient_penalty * penalty + s.drift * losses.drift(real_logits)
            seen["loss/gradient_penalty"].append(penalty.detach())
        elif s.r1_interval and not s.lazy_r1:
            images = images.detach().requires_grad_(True)
            penalty = losses.r1(run_D(D, images, classes, stage, s, state.control.p), images)  # [M]
            loss = loss + r1_gamma / 2 * penalty
            seen["loss/r1"].append(penalty.detach())
        terms.append(accumulate(loss, n))
        w.append(ws[:, 0].detach())
        seen["logits/sign_real"].append(real_logits.detach().sign())
        seen["logits/sign_fake"].append(fake_logits.detach().sign())
    track_w_avg(G, w)
    update(state.opt_D, "loss_D", terms, guard)

    # D: R1, lazily.
    if schedule.is_due(start, batch, s.lazy_r1_interval):
        terms = []
        state.opt_D.zero_grad(set_to_none=True)
        for k in rounds(count, device):
            images, classes = real[k::count].detach().requires_grad_(True), rows(labels, k, count)
            penalty = losses.r1(run_D(D, images, classes, stage, s, state.control.p), images)  # [M]
            terms.append(accumulate(penalty * (r1_gamma / 2 * s.r1_interval), n))
            seen["loss/r1"].append(penalty.detach())
        update(state.opt_D, "r1", terms, guard)

    # G: make D take fakes for real. D is frozen, which spares its weight gradients.
    terms, w = [], []
    set_requires_grad(state.opt_D, False)
    state.opt_G.zero_grad(set_to_none=True)
    for k in rounds(count, device):
        classes = rows(labels, k, count)
        fake, ws = run_G(G, n // count, classes, stage, s)  # [M, C, r, r], [M, num_ws, w_dim]
        loss = losses.OF_G[s.loss](run_D(D, fake, classes, stage, s, state.control.p))  # [M]
        terms.append(accumulate(loss, n))
        seen["loss/G"].append(loss.detach())
        w.append(ws[:, 0].detach())
    set_requires_grad(state.opt_D, True)
    track_w_avg(G, w)
    update(state.opt_G, "loss_G", terms, guard)

    # G: path length, lazily, on half the batch.
    if schedule.is_due(start, batch, s.path_length_interval):
        terms, w = [], []
        state.opt_G.zero_grad(set_to_none=True)
        half = path_length_batch(batch) // distributed.world_size()
        count = number_of_rounds(half, s.batch_gpu)
        if count > 1:  # the mean is of all lengths, so that they are needed before the first gradient
            all_lengths = []
            with rehearsal(device):
                for k in rounds(count, device):
                    fake, ws = run_G(G, half // count, rows(labels, k, count, half), stage, s)
                    all_lengths.append(losses.path_lengths(fake, ws, create_graph=False))  # [M]
            track_path_length(state.path_length_mean, all_lengths)
        for k in rounds(count, device):
            fake, ws = run_G(G, half // count, rows(labels, k, count, half), stage, s)
            lengths = losses.path_lengths(fake, ws)  # [M]
            if count == 1:
                track_path_length(state.path_length_mean, [lengths])
            penalty = (lengths - state.path_length_mean).square()  # [M]
            terms.append(accumulate(penalty * (s.path_length_weight * s.path_length_interval), half))
            seen["path_length/length"].append(lengths.detach())
            seen["path_length/penalty"].append(penalty.detach())
            w.append(ws[:, 0].detach())
        track_w_avg(G, w)
        update(state.opt_G, "path_length", terms, guard)

    # Adaptive augmentation: how well D knows the real images.
    if s.adapts:
        sign = distributed.all_reduce_mean(torch.cat(seen["logits/sign_real"]).mean())  # []
        state.control = observe(state.control, sign, batch, guard.found_inf)

    # Moving average of G.
    update_ema(
        state.G_ema, G, schedule.ema_decay(state.cur_nimg, batch, s.ema_nimg, s.ema_rampup), skip=guard.found_inf
    )
    remember_growth(state, stage)

    for name, values in seen.items():
        averages.add(name, torch.cat(values), skip=guard.found_inf)


# --- what a step is made of ---


def run_G(  # noqa: N802
    G: Generator, count: int, labels: Tensor | None, stage: schedule.Stage, s: TrainingSettings
) -> tuple[Tensor, Tensor]:
    """Generate images from random latents and fresh noise.

    Args:
        G: The generator.
        count: How many images.
        labels: Their classes, int64 [count], where G is conditioned on them.
        stage: Where growing stands.
        s: Settings of the training.

    Returns:
        Images [count, C, r, r], and the ws [count, num_ws, w_dim] that they were made from.
    """
    z = draw_shard(lambda whole: torch.randn(whole, G.z_dim, device=G.w_avg.device), count)  # [count, z_dim]
    ws = map_with_mixing(G, z, s.style_mixing, labels, stage.resolution if G.grows else None)  # [count, num_ws, w_dim]
    growth: dict[str, Any] = {"resolution": stage.resolution, "alpha": stage.alpha} if G.grows else {}
    return G.synthesis(ws, noise_mode="random", **growth), ws


def run_D(  # noqa: N802
    D: Discriminator,
    images: Tensor,
    labels: Tensor | None,
    stage: schedule.Stage,
    s: TrainingSettings,
    p: float,
    parts: int = 1,
) -> Tensor:
    """Augment images [N, C, r, r], and return the discriminator's logits [N, 1].

    Args:
        D: The discriminator.
        images: Fakes, reals, or points between them.
        labels: Their classes, int64 [N], where D is conditioned on them.
        stage: Where growing stands.
        s: Settings of the training.
        p: Probability of augmentation.
        parts: How many batches are stacked in `images`, each with statistics of its own.
    """
    if s.augment != "none":
        images = augment(images, p, PIPELINES[s.augment])
    growth: dict[str, Any] = {} if s.grow_from is None else {"alpha": stage.alpha}
    return D(images, parts, labels=labels, **growth)


def map_with_mixing(
    G: Generator, z: Tensor, probability: float, labels: Tensor | None = None, resolution: int | None = None
) -> Tensor:
    """Map z and, for a share of samples, take the layers after a random crossover from a second latent.

    Mixing regularization (StyleGAN, section 3.1).

    Args:
        G: The generator.
        z: [N, z_dim].
        probability: Of a sample to be mixed.
        labels: int64 [N], where G is conditioned on classes.
        resolution: What G has grown to, so that the crossover is among the layers in use; by default all are.

    Returns:
        ws [N, num_ws, w_dim].
    """
    ws = G.mapping(z, labels=labels)  # [N, num_ws, w_dim]
    if probability == 0:
        return ws
    n, device = z.shape[0], z.device
    layers = G.num_ws if resolution is None else num_ws_at(resolution)
    crossover = draw_shard(lambda whole: torch.randint(1, layers, (whole, 1), device=device), n)  # [N, 1]
    mixed = draw_shard(lambda whole: torch.rand(whole, 1, device=device), n) < probability  # [N, 1]
    crossover = torch.where(mixed, crossover, G.num_ws)
    keep = torch.arange(G.num_ws, device=device) < crossover  # [N, num_ws]
    return torch.where(keep[:, :, None], ws, G.mapping(normal_like(z), labels=labels))


def rows(labels: Tensor | None, k: int, count: int, total: int | None = None) -> Tensor | None:
    """Return the labels of round k of `count`, of the first `total` samples of a batch."""
    return None if labels is None else labels[k:total:count]


def accumulate(loss: Tensor, total: int) -> Tensor:
    """Add the gradient of a round's losses [M] to those of the rounds before it.

    Returns:
        The round's part of the mean over all `total` samples, [].
    """
    part = loss.sum() / total
    part.backward()
    return part.detach()


def update(optimizer: torch.optim.Optimizer, term: str, parts: list[Tensor], guard: Guard) -> None:
    """Move an optimizer by the gradients of all rounds, unless something in this step is not finite.

    Args:
        optimizer: A fused one, which asks its attribute `found_inf` whether to move.
        term: Name of the loss, for the message where it is NaN or infinite.
        parts: What `accumulate` gave, [] each.
        guard: Of this step.
    """
    loss = distributed.all_reduce_gradients(optimizer, torch.stack(parts).sum())
    optimizer.found_inf = guard.check(optimizer, {term: loss})  # type: ignore[attr-defined]
    optimizer.step()


@torch.no_grad()
def track_w_avg(G: Generator, parts: list[Tensor]) -> None:
    """Move the mean of W towards the w of a whole batch, [M, w_dim] of each round and process."""
    G.mapping.track_average(distributed.all_reduce_mean(torch.cat(parts).mean(0, keepdim=True)))


@torch.no_grad()
def track_path_length(mean: Tensor, parts: list[Tensor]) -> None:
    """Move the mean path length [] towards the lengths of a whole batch, [M] of each round and process."""
    mean.lerp_(distributed.all_reduce_mean(torch.cat(parts).mean()), PATH_LENGTH_DECAY)


def set_requires_grad(optimizer: torch.optim.Optimizer, wanted: bool) -> None:
    """Say whether gradients are computed for the parameters of an optimizer."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.requires_grad_(wanted)


@torch.no_grad()
def update_ema(average: Module, module: Module, decay: float, skip: Tensor) -> None:
    """Set average <- decay * average + (1 - decay) * module, and copy buffers.

    Args:
        average: Changed in place.
        module: Of the same parameters.
        decay: From 0 to 1.
        skip: []; where it is not 0 nothing changes.
    """
    kept: list[Tensor] = list(average.parameters())
    current: list[Tensor] = list(module.parameters())
    if skip.device.type == "cpu":  # where looking is free
        if skip > 0:
            return
        torch._foreach_lerp_(kept, current, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
    else:
        change = torch._foreach_sub(current, kept)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_mul_(change, (skip == 0) * (1 - decay))  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_add_(kept, change)  # pyright: ignore[reportPrivateImportUsage]
    for old, new in zip(average.buffers(), module.buffers(), strict=True):
        old.copy_(torch.where(skip > 0, old, new))


def remember_growth(state: TrainingState, stage: schedule.Stage) -> None:
    """Note in both generators what they have grown to, so that a checkpoint's show what they have learned."""
    for growth in (growth_of(state.G), growth_of(state.G_ema)):
        if growth is not None:
            growth.reached = stage


# --- the loop ---


def train(
    *,
    G: Generator,
    D: Discriminator,
    G_ema: Generator,
    batches: Callable[[int], Iterator[Batch]],
    run_dir: Path,
    settings: TrainingSettings,
    device: torch.device,
    initial: Mapping[str, Tensor] | None = None,
    evaluate: Callable[[Generator], dict[str, float]] | None = None,
) -> Path:
    """Train until settings.total_nimg, resuming from the newest intact checkpoint of run_dir.

    The result does not depend on where a run was stopped and resumed: on a CPU, and on a GPU with
    `settings.deterministic`, it is the same bit for bit. Up to rounding it does not depend on the number of processes
    that call this together either (see `runtime.distributed`); the first of them writes.

    Args:
        G: Generator with new weights.
        D: Its discriminator.
        G_ema: A generator of the same sizes, for the moving average.
        batches: Given cur_nimg, an endless iterator of batches from there on: images [N, C, R, R] in [-1, 1], or these
            and their labels [N]. Each is of settings.batch_size_at images, or of this process's share of them.
        run_dir: Gets checkpoints/, logs/ (TensorBoard), metrics.jsonl and samples/.
        settings: Of the training.
        device: Where it runs.
        initial: Weights to start from where run_dir has no checkpoint, as `stylegan2.transfer` gives them.
        evaluate: Given G_ema, {metric: value}, asked every settings.metrics_interval images. The lower the first value
            the better: checkpoints/best_model.safetensors has the best so far.

    Returns:
        The last checkpoint.

    Raises:
        UserError: The settings do not fit the networks, run_dir holds another run, or too many steps were not finite.
    """
    s = settings
    set_deterministic(s.deterministic)
    dtype = set_precision_flags(s.precision, device, auto="fp16")
    check_fit(s, G.img_resolution, G.grows, G.has_styles)
    check_batches(s, G.img_resolution, D.mbstd_group, distributed.world_size())
    for module in (G, D, G_ema):
        place(module, device)
        distributed.broadcast([*module.parameters(), *module.buffers()])
    for module in (G, D):  # samples of G_ema, and what is measured of it, are in float32
        set_precision(module, dtype)
    state = build_state(G, D, G_ema, s)
    if initial is not None:
        load_networks(state, initial)
    guard = Guard(s.max_nonfinite_steps, [G.w_avg, state.path_length_mean], resume(state, run_dir, s), device)
    distributed.check_equal(state.cur_nimg, "the processes do not see the same checkpoints: give all one --exp_dir")
    r1_gamma = schedule.r1_gamma(G.img_resolution, s.batch_size) if s.r1_gamma is None else s.r1_gamma
    averages, stats = Averages(), StatsWriter(run_dir, "cur_nimg", state.cur_nimg, idle=not distributed.is_first())
    stream = batches(state.cur_nimg)
    started, started_nimg, saved_nimg, waited = time.perf_counter(), state.cur_nimg, state.cur_nimg, 0.0
    progress = progress_bar(state.cur_nimg, s.total_nimg)

    with Interrupt() as interrupt, closing(stats), closing(progress):
        while state.cur_nimg < s.total_nimg and not is_asked_to_stop(interrupt):
            # Fetch, then step; every step draws from a seed of its own.
            waiting = time.perf_counter()
            real, labels = on_device(next(stream), device)  # [N, C, R, R], [N]
            waited += time.perf_counter() - waiting
            n = real.shape[0] * distributed.world_size()
            seed_step(s.seed, 0, state.cur_nimg)
            schedule_learning_rate(state, s)
            with guard.step():
                step(state, real, labels, settings=s, r1_gamma=r1_gamma, averages=averages, guard=guard)
            if s.adapts:
                state.control = adapt(state.control, target=s.ada_target, ramp_nimg=s.ada_nimg)
            progress.update(n)

            # Report.
            if schedule.passed(state.cur_nimg, n, s.log_interval):
                guard.look()
                values = distributed.all_reduce_mean_values(averages.pop()) | moving_values(state, s)
                seconds = time.perf_counter() - started
                speed = {
                    "train/skipped_steps": guard.pop(),
                    "speed/images_per_second": (state.cur_nimg - started_nimg) / seconds,
                    "speed/waiting_for_data": waited / seconds,
                }
                peak = peak_memory_mb(device)
                memory = {} if peak is None else {"speed/peak_memory_mb": peak}
                started, started_nimg, waited = time.perf_counter(), state.cur_nimg, 0.0
                stats.scalars(state.cur_nimg, {**values, **speed, **memory})
                shown = {name: f"{values[f'loss/{name}']:.2f}" for name in "GD" if f"loss/{name}" in values}
                progress.set_postfix(shown, refresh=False)
            if distributed.is_first() and schedule.passed(state.cur_nimg, n, s.image_interval):
                sheet = sample_sheet(state.G_ema, device)
                stats.image(state.cur_nimg, "samples", sheet)
                images.write_image(run_dir / "samples" / f"{state.cur_nimg:09d}.png", sheet)
                stats.plot(state.cur_nimg, usage_values(state.G_ema, device))
            if evaluate is not None and schedule.passed(state.cur_nimg, n, s.metrics_interval):
                measure(state, evaluate, stats, run_dir, s)

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


def measure(
    state: TrainingState,
    evaluate: Callable[[Generator], dict[str, float]],
    stats: StatsWriter,
    run_dir: Path,
    s: TrainingSettings,
) -> None:
    """Log the metrics of G_ema, and keep the checkpoint where the first of them is the lowest so far.

    The first of several processes does it for all.
    """
    if distributed.is_first():
        values = evaluate(state.G_ema)
        stats.scalars(state.cur_nimg, {f"metrics/{name}": value for name, value in values.items()})
        tqdm.write(f"{state.cur_nimg:,} images: " + ", ".join(f"{name} {v:.4g}" for name, v in values.items()))
        first = next(iter(values.values()))
        if first < state.best_metric:
            state.best_metric = first
            save_best(state, run_dir, s)


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
