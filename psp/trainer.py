"""The encoder loop: `step` reads top to bottom like the paper; `train` fetches, steps, reports, validates and saves."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from psp import batch_norm
from psp.evaluation.metrics import Metrics
from psp.generated_samples import latent_loss, with_generated
from psp.latent_discriminator import deception_loss, train_discriminator
from psp.losses import WeightedLosses
from psp.model import PSp, as_rgb_pair
from psp.optimizers import unscale
from psp.precision import autocast, pick_precision
from psp.training_settings import TrainingSettings
from psp.training_state import (
    TrainingState,
    buffers_of_step,
    build_state,
    check_batches,
    checkpoint_path,
    learning_rate,
    resume,
    save,
    schedule,
    smaller_parts,
)
from stylegan2 import ops
from stylegan2.metrics.samples import as_rgb
from stylegan2.networks.precision import set_precision
from stylegan2.runtime import distributed, images
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.device import peak_memory_mb, place, set_deterministic
from stylegan2.runtime.estimate import check_step, kept_bytes
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.interrupt import Interrupt, is_asked_to_stop
from stylegan2.runtime.memory import FLOAT32, advising, check_batch
from stylegan2.runtime.progress import Progress, write_line
from stylegan2.runtime.randomness import draw_shard, rounds, seed_step
from stylegan2.runtime.ranges import parse_reporters
from stylegan2.runtime.stats import Averages, StatsWriter

FP16_LOSS_SCALE = 4096.0  # keeps float16 gradients from underflowing; bfloat16 has the range of float32


def step(
    state: TrainingState,
    source: Tensor,
    target: Tensor,
    *,
    losses: WeightedLosses,
    settings: TrainingSettings,
    guard: Guard,
    averages: Averages,
    precision: str = "fp32",
) -> None:
    """Take one training step: source -> codes -> image, compared with the target.

    The output of an iterative encoder is compared after each pass, and the gradients add up. If a loss or a gradient is
    NaN or infinite, neither the encoder nor the discriminator is updated. Nothing waits for the device.

    Args:
        state: The state, which is changed in place.
        source: [N, C, S, S] in [-1, 1], this process's share of the batch.
        target: [N, 3, T, T] in [-1, 1].
        losses: The losses to minimise.
        settings: Settings of the training.
        guard: The guard that surrounds this step (`with guard.step():`).
        averages: Collects the losses.
        precision: Precision of the networks, as `pick_precision` returns it; losses are summed in float32.
    """
    model, adversary, s, device = state.model, state.adversary, settings, source.device
    start, state.cur_step = state.cur_step, state.cur_step + 1  # a skipped step counts too
    state.cur_nimg += len(source) * distributed.world_size()
    parts = s.accumulate * distributed.world_size()
    scale = FP16_LOSS_SCALE if precision == "fp16" else 1.0
    terms: dict[str, list[Tensor]] = defaultdict(list)  # values of each part and pass
    encoded = []  # w+ of each part

    # Encoder: w+ = E(x) + w_avg, image = G(w+). The gradients of all parts of the batch add up.
    state.optimizer.zero_grad(set_to_none=True)
    for part in rounds(s.accumulate, device):
        x, y = source[part :: s.accumulate], target[part :: s.accumulate]  # [M, C, S, S], [M, 3, T, T]
        known = None
        if s.generated:
            x, y, known = with_generated(model.generator, x, y, s.generated)
        codes = rendering = None
        if s.freeze_w_plus:
            with torch.no_grad(), autocast(device, precision):
                codes = model.refine(x).map(to_float32)
                rendering = to_float32(model.decode(codes, noise_mode="random"))  # [M, img_channels, R, R]
        for _ in range(model.iterations - s.freeze_w_plus):
            with autocast(device, precision):
                codes = model.refine(x, codes, rendering).map(to_float32)
                rendering = to_float32(model.decode(codes, noise_mode="random"))  # [M, img_channels, R, R]
                output, wanted = as_rgb_pair(shrink(rendering, y.shape[-1]), y)  # [M, 3, T, T] each
                images = {"source": x, "target": wanted, "output": output}
                values = losses(**images, **codes._asdict(), latent_avg=model.latent_avg)
            w_plus = codes.w_plus  # [M, num_ws, w_dim]
            values = {name: to_float32(value) for name, value in values.items()}  # [M] each
            loss = losses.total(values)
            if known is not None:
                values["latent"] = latent_loss(w_plus[: len(known)], known)  # [G]
                loss = loss + s.latent_lambda * values["latent"].sum() * (parts / s.generated)
            if adversary is not None:
                values["w_discriminator"] = deception_loss(adversary.network, unlocked_rows(model, w_plus))  # [M]
                loss = loss + adversary.weight * values["w_discriminator"].mean()
            (loss * (scale / s.accumulate)).backward()
            for name, value in values.items():
                terms[f"loss_{name}"].append(value.detach())
            terms["loss"].append(loss.detach()[None])
        encoded.append(w_plus.detach())
    logged = {name: torch.cat(values) for name, values in terms.items()}
    logged["loss"] = distributed.all_reduce_gradients(state.optimizer, logged["loss"].mean())  # []
    unscale(state.optimizer, scale)
    guard.step_optimizer(state.optimizer, logged)

    # Latent discriminator: separate codes of the mapping network from those of the encoder.
    if adversary is not None:
        w_plus = torch.stack(encoded, 1).flatten(0, 1)  # [N, num_ws, w_dim], in the order of the batch
        with torch.no_grad():
            z = draw_shard(lambda count: torch.randn(count, model.generator.z_dim, device=device), len(source))
            real = model.generator.mapping(z)[:, 0]  # [N, w_dim]
        values = train_discriminator(adversary, real, unlocked_rows(model, w_plus), start, guard)
        logged |= {f"loss_{name}": value for name, value in values.items()}

    for name, value in logged.items():
        averages.add(f"train/{name}", value, skip=guard.found_inf)


def bytes_per_image(model: PSp) -> int:
    """Return how many bytes the encoder and the generator keep of an image for the backward pass, at least."""
    encoder, trains = model.encoder, model.encoder.training
    x = torch.zeros(1, encoder.input_channels, encoder.input_size, encoder.input_size)  # [1, C, S, S]
    encoder.eval()  # statistics of batches do not count this image
    kept = kept_bytes(lambda: model.decode(model.refine(x), noise_mode="random"), model.parameters())
    encoder.train(trains)
    return kept


def unlocked_rows(model: PSp, w_plus: Tensor) -> Tensor:
    """Return the rows of codes that learn, [N, rows, w_dim]: all rows, except deltas that are not unlocked yet."""
    unlocked = model.encoder.unlocked
    return w_plus if unlocked is None else w_plus[:, : unlocked + 1]  # [N, rows, w_dim]


def to_float32(x: Tensor) -> Tensor:
    """Convert 16-bit numbers to float32, and leave other types unchanged."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def shrink(x: Tensor, size: int) -> Tensor:
    """Area-average larger images [N, C, H, W] to `size` pixels, as the paper does before its losses."""
    return x if x.shape[-1] <= size else ops.area_downsample(x, size)  # [N, C, size, size]


# --- the loop ---


def train(
    *,
    model: PSp,
    losses: WeightedLosses,
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]],
    held_out: Sequence[tuple[Tensor, Tensor]],
    metrics: Metrics,
    show_source: Callable[[Tensor], Tensor],
    description: Metadata,
    run_dir: Path,
    settings: TrainingSettings,
    device: torch.device,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Train until settings.max_steps, resuming from the newest intact checkpoint of run_dir.

    The result does not depend on where a run was stopped and resumed, bit for bit on a CPU. Up to rounding, it does not
    depend on the number of processes either that call this function together (see `stylegan2.runtime.distributed`).

    Args:
        model: The model, with a new or trained encoder.
        losses: The losses to minimise.
        batches: Takes a position in the stream of images and returns an endless iterator of (source, target) batches
            from there on, each with settings.batch_size pairs or with this process's share of them.
        held_out: Batches of (source, target) for validation.
        metrics: Metrics of the validation.
        show_source: Turns a batch of sources into pictures, [N, C, S, S] -> [N, 3, S, S].
        description: Metadata of the checkpoints (encoder, generator, task).
        run_dir: Folder for checkpoints/, logs/ (TensorBoard) and metrics.jsonl.
        settings: Settings of the training.
        device: Device on which the training runs.
        notes: {title: text} to show beside the numbers, such as the settings and versions of the run.

    Returns:
        The path of the last checkpoint.

    Raises:
        UserError: The settings do not fit, run_dir holds another run, or too many steps were not finite.
    """
    s, first = settings, distributed.is_first()
    set_deterministic(s.deterministic)
    check_batches(s, distributed.world_size())
    check_batch(s.batch_size // distributed.world_size(), model.encoder.input_channels, model.encoder.input_size)
    precision = pick_precision(s.precision, device)
    if distributed.world_size() > 1:
        batch_norm.synchronize(model.encoder)
    for module in (model, losses, metrics):
        place(module, device)
    if precision == "fp16":
        set_precision(model.generator, torch.float16)  # keeps its activations within the range of float16
    distributed.broadcast([*model.parameters(), *model.buffers()])
    images_at_once, _ = smaller_parts(s.batch_size // distributed.world_size(), s.accumulate)
    image_bytes = FLOAT32 * model.encoder.input_channels * model.encoder.input_size**2
    check_step(
        partial(bytes_per_image, model), image_bytes, images_at_once, "lower batch_size or raise `accumulate`", device
    )
    state = build_state(model, s)
    guard = Guard(s.max_nonfinite_steps, buffers_of_step(state), resume(state, run_dir, s, description), device)
    distributed.check_equal(
        state.cur_step, "the processes do not see the same checkpoints: give all of them the same exp_dir"
    )
    averages, stats = (
        Averages(),
        StatsWriter(run_dir, "cur_step", state.cur_step, not first, parse_reporters(s.report_to)),
    )
    for name, text in {**notes, "networks": json.dumps(losses.networks | metrics.networks, indent=1)}.items():
        stats.text(state.cur_step, name, text)
    stream = batches(state.cur_nimg)
    started, started_nimg, saved_step, waited = time.perf_counter(), state.cur_nimg, state.cur_step, 0.0
    progress = Progress(
        s.max_steps,
        "training",
        "step",
        initial=state.cur_step,
        hidden=not first,
        images_per_unit=s.batch_size,
        expects=True,
    )

    with Interrupt() as interrupt, closing(stats), closing(progress):
        while state.cur_step < s.max_steps and not is_asked_to_stop(interrupt):
            # Fetch, then step; every step has its own seed.
            asked = time.perf_counter()
            source, target = (batch.to(device, non_blocking=True) for batch in next(stream))
            waited += time.perf_counter() - asked
            seed_step(s.seed, 0, state.cur_step)
            schedule(state, s)
            with advising(*smaller_parts(len(source), s.accumulate)), guard.step():
                step(
                    state,
                    source,
                    target,
                    losses=losses,
                    settings=s,
                    guard=guard,
                    averages=averages,
                    precision=precision,
                )
            progress.update()

            # Report.
            if state.cur_step % s.board_interval == 0:
                guard.look()
                values = distributed.all_reduce_mean_values(averages.pop())
                seconds, peak = time.perf_counter() - started, peak_memory_mb(device)
                rates = {
                    "train/learning_rate": learning_rate(state.cur_step - 1, s),
                    "train/skipped_steps": guard.pop(),
                    "speed/images_per_second": (state.cur_nimg - started_nimg) / seconds,
                    "speed/waiting_for_data": waited / seconds,
                }
                if peak is not None:
                    rates["speed/peak_memory_mb"] = peak
                started, started_nimg, waited = time.perf_counter(), state.cur_nimg, 0.0
                stats.scalars(state.cur_step, {**values, **similarities(values, losses), **rates})
                progress.show(**{k[6:]: f"{v:.3f}" for k, v in values.items() if k == "train/loss"})
            if first and state.cur_step % s.image_interval == 0:
                stats.image(state.cur_step, "train/source_output_target", draw_rows(model, source, target, show_source))

            # Validate and save, but do not save while steps fail, because the state may be the cause.
            if state.cur_step % s.val_interval == 0 or state.cur_step == s.max_steps:
                means = validate(
                    model,
                    losses=losses,
                    held_out=held_out,
                    metrics=metrics,
                    stats=stats,
                    cur_step=state.cur_step,
                    precision=precision,
                    show_source=show_source,
                )
                if means["val/loss"] < state.best_loss:
                    state.best_loss = means["val/loss"]
                    save(state, run_dir / "checkpoints" / "best_model.safetensors", description, s)
            due = state.cur_step // s.save_interval > saved_step // s.save_interval
            if due and not guard.failing:
                guard.saved(save(state, checkpoint_path(run_dir, state.cur_step), description, s))
                saved_step = state.cur_step

        if saved_step != state.cur_step:
            save(state, checkpoint_path(run_dir, state.cur_step), description, s, spare=guard.failing)
        distributed.barrier()  # a launcher may end all processes as soon as one of them has ended
    if interrupt.requested:
        sys.exit(interrupt.exit_code)
    return checkpoint_path(run_dir, state.cur_step)


def similarities(values: dict[str, float], losses: WeightedLosses) -> dict[str, float]:
    """Return the identity similarities for people, which are 1 - the identity losses."""
    return {
        f"train/similarity_{name}": 1 - values[f"train/loss_{name}"]
        for name in losses.weights
        if name.startswith("id") and f"train/loss_{name}" in values
    }


@torch.no_grad()
def validate(
    model: PSp,
    *,
    losses: WeightedLosses,
    held_out: Sequence[tuple[Tensor, Tensor]],
    metrics: Metrics,
    stats: StatsWriter,
    cur_step: int,
    precision: str,
    show_source: Callable[[Tensor], Tensor],
) -> dict[str, float]:
    """Measure losses and metrics on held-out pairs, write them, and return their means.

    With several processes, each measures all pairs, so that they agree, and the first one writes.
    """
    averages, device = Averages(), model.latent_avg.device
    learning = [part for part in model.encoder.modules() if part.training]
    model.encoder.eval()
    for source, target in held_out:
        source, target = source.to(device), target.to(device)
        with autocast(device, precision):
            codes = model.encode(source).map(to_float32)
            output = shrink(to_float32(model.decode(codes)), target.shape[-1])  # [N, img_channels, T, T]
            output, target = as_rgb_pair(output, target)  # [N, 3, T, T] each
            values = losses(source=source, target=target, output=output, **codes._asdict(), latent_avg=model.latent_avg)
        values = {name: to_float32(value) for name, value in values.items()}  # [N] each
        averages.add("val/loss", losses.total(values).repeat(len(source)))
        for name, value in values.items():
            averages.add(f"val/loss_{name}", value)
        for name, value in metrics.reconstruction(output, target).items():
            averages.add(f"val/{name}", value)
    means = averages.pop()
    stats.scalars(cur_step, means, networks=metrics.networks)
    source, target = held_out[0]
    stats.image(cur_step, "val/source_output_target", draw_rows(model, source.to(device), target, show_source))
    for part in learning:
        part.training = True
    write_line(f"step {cur_step}: " + ", ".join(f"{metrics.title(k[4:])} {v:.4f}" for k, v in means.items()))
    return means


@torch.no_grad()
def draw_rows(
    model: PSp, source: Tensor, target: Tensor, show_source: Callable[[Tensor], Tensor], count: int = 8
) -> np.ndarray:
    """Draw one row of source, output and target per sample, uint8 [H, W, 3]; batch statistics do not change."""
    was_training = model.encoder.training
    model.encoder.eval()
    output = as_rgb(model(source[:count]))  # [N, 3, R, R]
    model.encoder.train(was_training)
    size = output.shape[2:]
    shown = [show_source(source[:count]), output, target[:count].to(output.device)]
    columns = [F.interpolate(x.cpu(), size, mode="bilinear", antialias=True) for x in shown]  # 3 x [N, 3, R, R]
    return images.grid(torch.stack(columns, dim=1).flatten(0, 1), columns=3)
