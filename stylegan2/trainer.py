"""The GAN loop: `train` fetches, steps, reports, measures and saves."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from stylegan2 import schedule
from stylegan2.augment import adapt
from stylegan2.metrics.resolution_usage import resolution_usage
from stylegan2.networks.conditioning import labels_of
from stylegan2.networks.growing import growth_of
from stylegan2.networks.precision import set_precision
from stylegan2.networks.protocols import Discriminator, Generator
from stylegan2.runtime import distributed, images
from stylegan2.runtime.device import peak_memory_mb, place, set_deterministic, set_precision_flags
from stylegan2.runtime.estimate import check_step
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.interrupt import Interrupt, is_asked_to_stop
from stylegan2.runtime.memory import FLOAT32, advising, check_batch
from stylegan2.runtime.progress import Progress, write_line
from stylegan2.runtime.randomness import seed_step, seeded_normal
from stylegan2.runtime.ranges import parse_reporters
from stylegan2.runtime.stats import Averages, StatsWriter
from stylegan2.training_settings import TrainingSettings, check_fit
from stylegan2.training_state import (
    TrainingState,
    build_state,
    check_batches,
    checkpoint_path,
    load_networks,
    resume,
    save,
    save_best,
    schedule_learning_rate,
    smaller_rounds,
)
from stylegan2.training_step import bytes_per_image, step

USAGE_SAMPLES = 64
Batch = Tensor | list[Tensor]
"""images [N, C, R, R] in [-1, 1], or a list of images and their labels, int64 [N]"""


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
    notes: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Train until settings.total_nimg, resuming from the newest intact checkpoint of run_dir.

    The result does not depend on where a run was stopped and resumed: on a CPU, and on a GPU with
    `settings.deterministic`, it is the same bit for bit. Up to rounding, it does not depend on the number of processes
    either that call this function together (see `runtime.distributed`); only the first of them writes files.

    Args:
        G: The generator, with new weights.
        D: The discriminator, with new weights.
        G_ema: A generator of the same sizes, which becomes the moving average.
        batches: Takes cur_nimg and returns an endless iterator of the batches from there on: images [N, C, R, R] in
            [-1, 1], or images and labels int64 [N]. A batch has settings.batch_size_at images, or this process's share.
        run_dir: Folder for checkpoints/, logs/ (TensorBoard), metrics.jsonl and samples/.
        settings: Settings of the training.
        device: Device on which the training runs.
        initial: Weights to start from if run_dir has no checkpoint, as `stylegan2.transfer` returns them.
        evaluate: Takes G_ema and returns {metric: value}; it is called every settings.metrics_interval images. A lower
            first value is better, and checkpoints/best_model.safetensors holds the best model so far.
        notes: {title: text} to show beside the numbers, such as the settings and versions of the run.

    Returns:
        The path of the last checkpoint.

    Raises:
        UserError: The settings do not fit the networks, run_dir holds another run, or too many steps were not finite.
    """
    s = settings
    set_deterministic(s.deterministic)
    dtype = set_precision_flags(s.precision, device, auto="fp16")
    check_fit(s, G.img_resolution, G.grows, G.has_styles)
    check_batches(s, G.img_resolution, D.mbstd_group, distributed.world_size())
    check_batch(s.batch_size // distributed.world_size(), G.img_channels, G.img_resolution)
    for module in (G, D, G_ema):
        place(module, device)
    for module in (G, D):  # G_ema renders samples and is measured in float32
        set_precision(module, dtype)
    share = s.batch_size // distributed.world_size()
    images_at_once, _ = smaller_rounds(share, s.batch_gpu, math.gcd(D.mbstd_group, s.batch_size))
    image_bytes = FLOAT32 * G.img_channels * G.img_resolution**2
    check_step(partial(bytes_per_image, G, D, s), image_bytes, images_at_once, "lower batch_size or batch_gpu", device)
    state = build_state(G, D, G_ema, s)
    if initial is not None:
        load_networks(state, initial)
        if s.freeze_synthesis:  # the encoders of a generator know the average of its training, not its last step
            state.G.load_state_dict(state.G_ema.state_dict())
    for module in (G, D, G_ema):
        distributed.broadcast([*module.parameters(), *module.buffers()])
    guard = Guard(s.max_nonfinite_steps, [G.w_avg, state.path_length_mean], resume(state, run_dir, s), device)
    distributed.check_equal(
        state.cur_nimg, "the processes do not see the same checkpoints: give all of them the same exp_dir"
    )
    r1_gamma = schedule.r1_gamma(G.img_resolution, s.batch_size) if s.r1_gamma is None else s.r1_gamma
    averages, stats = (
        Averages(),
        StatsWriter(run_dir, "cur_nimg", state.cur_nimg, not distributed.is_first(), parse_reporters(s.report_to)),
    )
    for name, text in notes.items():
        stats.text(state.cur_nimg, name, text)
    stream = batches(state.cur_nimg)
    started, started_nimg, saved_nimg, waited = time.perf_counter(), state.cur_nimg, state.cur_nimg, 0.0
    hidden = not distributed.is_first()
    progress = Progress(s.total_nimg, "training", "img", initial=state.cur_nimg, hidden=hidden, expects=True)

    with Interrupt() as interrupt, closing(stats), closing(progress):
        while state.cur_nimg < s.total_nimg and not is_asked_to_stop(interrupt):
            # Fetch, then step; every step has a seed of its own.
            waiting = time.perf_counter()
            real, labels = on_device(next(stream), device)  # [N, C, R, R], [N]
            waited += time.perf_counter() - waiting
            n = real.shape[0] * distributed.world_size()
            seed_step(s.seed, 0, state.cur_nimg)
            schedule_learning_rate(state, s)
            group = math.gcd(D.mbstd_group, n)
            with advising(*smaller_rounds(real.shape[0], s.batch_gpu, group)), guard.step():
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
                progress.show(**shown)
            if distributed.is_first() and schedule.passed(state.cur_nimg, n, s.image_interval):
                sheet = sample_sheet(state.G_ema, device)
                stats.image(state.cur_nimg, "samples", sheet)
                images.write_image(run_dir / "samples" / f"{state.cur_nimg:09d}.png", sheet)
                stats.plot(state.cur_nimg, usage_values(state.G_ema, device))
            if evaluate is not None and schedule.passed(state.cur_nimg, n, s.metrics_interval):
                log_metrics(state, evaluate, stats, run_dir, s)

            # Save, but not while steps fail, as the state may be the reason.
            due = schedule.passed(state.cur_nimg, state.cur_nimg - saved_nimg, s.save_interval)
            if due and not guard.failing:
                guard.saved(save(state, run_dir, s, s.keep_checkpoints))
                saved_nimg = state.cur_nimg

        if saved_nimg != state.cur_nimg:
            save(state, run_dir, s, s.keep_checkpoints + guard.failing)
        distributed.barrier()  # a launcher may end all processes as soon as one of them has ended
    if interrupt.requested:
        sys.exit(interrupt.exit_code)
    return checkpoint_path(run_dir, state.cur_nimg)


def log_metrics(
    state: TrainingState,
    evaluate: Callable[[Generator], dict[str, float]],
    stats: StatsWriter,
    run_dir: Path,
    s: TrainingSettings,
) -> None:
    """Log the metrics of G_ema, and keep the checkpoint if the first metric is the lowest so far.

    Of several processes only the first one does so.
    """
    if distributed.is_first():
        values = evaluate(state.G_ema)
        stats.scalars(state.cur_nimg, {f"metrics/{name}": value for name, value in values.items()})
        write_line(f"{state.cur_nimg:,} images: " + ", ".join(f"{name} {v:.4g}" for name, v in values.items()))
        first = next(iter(values.values()))
        if first < state.best_metric:
            state.best_metric = first
            save_best(state, run_dir, s)


def on_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Move a batch to the device without waiting: return images [N, C, R, R], and labels [N] or None."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True), None
    real, labels = (part.to(device, non_blocking=True) for part in batch)
    return real, labels


def moving_values(state: TrainingState, s: TrainingSettings) -> dict[str, float]:
    """Return the scheduled and adaptive values that are logged: augmentation probability and growing."""
    values = {} if s.augment == "none" else {"augment/p": state.control.p}
    if growth := growth_of(state.G):
        resolution, alpha = growth.reached
        values |= {"growing/resolution": resolution, "growing/alpha": alpha}
    return values


def usage_values(G: Generator, device: torch.device) -> dict[str, float]:
    """Return each resolution's share of the image (StyleGAN2, figure 8), for the architecture "skip" only."""
    if getattr(G.synthesis, "architecture", None) != "skip":
        return {}
    labels = labels_of(G, torch.arange(USAGE_SAMPLES, device=device))
    with torch.no_grad():
        ws = G.mapping(seeded_normal((USAGE_SAMPLES, G.z_dim), seed=0, device=device), labels=labels)
    return {f"resolution_usage/{resolution}": share for resolution, share in resolution_usage(G, ws).items()}


@torch.no_grad()
def sample_sheet(G: Generator, device: torch.device, columns: int = 8, rows: int = 8) -> np.ndarray:
    """Return a grid of samples, uint8 [H, W, C], of the same latents in every call; each row has one label, if any."""
    z = seeded_normal((columns * rows, G.z_dim), seed=0, device=device)
    labels = labels_of(G, torch.arange(rows, device=device).repeat_interleave(columns))  # of [rows * columns]
    parts = [None] * len(z) if labels is None else labels.split(16)
    samples = [G(part, labels=own) for part, own in zip(z.split(16), parts, strict=False)]  # [16, C, R, R] each
    return images.grid(torch.cat(samples), columns)
