"""The state of a GAN training, and its checkpoints."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylegan2 import schedule
from stylegan2.augment import Controller
from stylegan2.networks.conditioning import stored_label_rows
from stylegan2.networks.protocols import Discriminator, Generator
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint, distributed
from stylegan2.runtime.bounded import reading
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.registry import built_as
from stylegan2.runtime.tensors import load_module, load_optimizer, module_tensors, optimizer_tensors
from stylegan2.training_settings import TrainingSettings

BETAS = (0.0, 0.99)
PATH_LENGTH_BATCH_SHRINK = 2  # the paper regularizes on half the batch
FIXED_FOR_A_RUN = ("grow_from", "fade_nimg", "stable_nimg", "freeze_synthesis")
BATCHES = ("batch_size", "batch_sizes")


def path_length_batch(batch: int) -> int:
    """Return the number of samples of a batch whose path lengths are regularized."""
    return max(1, batch // PATH_LENGTH_BATCH_SHRINK)


def number_of_rounds(share: int, batch_gpu: int | None, group: int = 1) -> int:
    """Return the number of equal rounds in which a process handles its share of a batch.

    Args:
        share: Samples of this process.
        batch_gpu: Most samples in a round; None for all at once.
        group: Divisor of the size of a round, which keeps the groups of minibatch standard deviation whole.

    Raises:
        UserError: The share cannot be split into such rounds.
    """
    largest = min(share, batch_gpu or share)
    for size in range(largest, 0, -1):
        if share % size == 0 and size % group == 0:
            return share // size
    raise UserError(
        f"{share} images cannot be split into equal rounds of at most {largest} with mbstd_group {group}: use "
        f"batch_gpu {group} or a multiple"
    )


def smaller_rounds(share: int, batch_gpu: int | None, group: int) -> tuple[int, str]:
    """Return how many samples a process handles at a time, and advice for the case that its memory is too small.

    Args:
        share: Samples of this process.
        batch_gpu: As in `number_of_rounds`.
        group: As in `number_of_rounds`.
    """
    now = share // number_of_rounds(share, batch_gpu, group)
    smaller = [size for size in range(1, now // 2 + 1) if share % size == 0 and size % group == 0]
    if not smaller:
        return now, f"use a batch_size below {share}, a lower resolution or a smaller channel_base"
    return now, f"try batch_gpu {max(smaller)}, with the same result in about {max(smaller) / now:.0%} of it"


def check_batches(s: TrainingSettings, img_resolution: int, mbstd_group: int, processes: int) -> None:
    """Check that every batch splits into equal shares and rounds without tearing the groups of minibatch stddev apart.

    The samples of a group are N / group apart (`layers.minibatch_stddev`), and those of a process are `processes`
    apart: groups stay whole if N / group is a multiple of `processes`.

    Raises:
        UserError: A batch does not split in this way.
    """
    sizes = [2**k for k in range(2, img_resolution.bit_length()) if 2**k >= (s.grow_from or img_resolution)]
    for batch in {schedule.at_resolution(s.batch_sizes, size, s.batch_size) for size in sizes}:
        group = math.gcd(batch, mbstd_group)
        if batch % (processes * group) or (s.path_length_interval and path_length_batch(batch) % processes):
            shared = math.lcm(mbstd_group, PATH_LENGTH_BATCH_SHRINK if s.path_length_interval else 1)
            raise UserError(
                f"a batch of {batch} cannot be shared by {processes} processes with mbstd_group {mbstd_group}: use "
                f"batch_size {processes * shared} or a multiple, or fewer processes"
            )
        number_of_rounds(batch // processes, s.batch_gpu, group)


@dataclass
class TrainingState:
    """Everything that a step changes, which is everything that a checkpoint holds."""

    G: Generator
    D: Discriminator
    G_ema: Generator
    opt_G: torch.optim.Optimizer
    opt_D: torch.optim.Optimizer
    path_length_mean: Tensor  # [], moving average of path lengths
    control: Controller  # of augmentation
    cur_nimg: int = 0
    best_metric: float = math.inf  # lowest value so far of the first metric


def build_state(G: Generator, D: Discriminator, G_ema: Generator, s: TrainingSettings) -> TrainingState:
    """Build the state before the first step: copy the weights of G to G_ema, and make the optimizers of G and D."""
    (lr_G, betas_G), (lr_D, betas_D) = adam_settings(s, s.learning_rate)
    G_ema.load_state_dict(G.state_dict())
    freeze(D, s.freeze_d)
    G.synthesis.requires_grad_(not s.freeze_synthesis)
    learning_G, learning_D = ([p for p in network.parameters() if p.requires_grad] for network in (G, D))
    return TrainingState(
        G.train(),
        D.train(),
        G_ema.eval().requires_grad_(False),
        # Fused optimizers are faster, and decide on the device whether to step (`Guard.check`).
        opt_G=torch.optim.Adam(learning_G, lr=lr_G, betas=betas_G, eps=1e-8, fused=True),
        opt_D=torch.optim.Adam(learning_D, lr=lr_D, betas=betas_D, eps=1e-8, fused=True),
        path_length_mean=torch.zeros([], device=next(G.parameters()).device),
        control=Controller(s.augment_p or 0.0),
    )


def adam_settings(s: TrainingSettings, learning_rate: float) -> list[tuple[float, tuple[float, float]]]:
    """Return (learning rate, betas) of the optimizers of G and of D, corrected for their lazy phases."""
    return [
        schedule.lazy_adam(s.g_learning_rate or learning_rate, BETAS, s.path_length_interval),
        schedule.lazy_adam(learning_rate, BETAS, s.lazy_r1_interval),
    ]


def schedule_learning_rate(state: TrainingState, s: TrainingSettings) -> None:
    """Set the learning rates of the step that starts at state.cur_nimg."""
    resolution = s.stage(state.cur_nimg, state.G.img_resolution).resolution
    settings = adam_settings(s, schedule.at_resolution(s.learning_rates, resolution, s.learning_rate))
    for optimizer, (learning_rate, _) in zip((state.opt_G, state.opt_D), settings, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate


def freeze(D: Discriminator, layers: int) -> None:
    """Freeze the layers of a discriminator that are next to the image: Freeze-D (Mo et al. 2020).

    Args:
        D: A discriminator whose layers are in `from_rgbs` and `blocks`.
        layers: Number of layers to freeze, counted from the image.

    Raises:
        UserError: The discriminator has fewer layers that can be frozen.
    """
    network: Any = D
    freezable = []
    for k, block in enumerate(getattr(network, "blocks", ())):  # a discriminator may be structured differently
        if k == 0 or network.architecture == "skip":
            freezable.append(network.from_rgbs[k])
        freezable += [layer for layer in (block.conv0, block.conv1, block.skip) if layer is not None]
    if layers > len(freezable):
        raise UserError(
            f"freeze_d must be at most {len(freezable)}, the number of layers of the discriminator, not {layers}"
        )
    for layer in freezable[:layers]:
        layer.requires_grad_(False)


# --- checkpoints ---


def checkpoint_path(run_dir: Path, cur_nimg: int) -> Path:
    """Return the path of the checkpoint at cur_nimg."""
    return checkpoint.checkpoint_path(run_dir, "network", cur_nimg)


def save(state: TrainingState, run_dir: Path, s: TrainingSettings, keep: int) -> Path:
    """Write a checkpoint and delete all but the `keep` newest; of several processes only the first one does so."""
    path = checkpoint_path(run_dir, state.cur_nimg)
    if distributed.is_first():
        checkpoint.save(path, *snapshot(state, s))
        checkpoint.prune(run_dir / "checkpoints", keep)
    return path


def save_best(state: TrainingState, run_dir: Path, s: TrainingSettings) -> Path:
    """Write the checkpoint with the best metric so far, which only a better one replaces."""
    path = run_dir / "checkpoints" / "best_model.safetensors"
    checkpoint.save(path, *snapshot(state, s))
    return path


def snapshot(state: TrainingState, s: TrainingSettings) -> tuple[dict[str, Tensor], Metadata]:
    """Return the tensors and metadata of a checkpoint of this state."""
    tensors = {"path_length_mean": state.path_length_mean}
    for name in ("G", "D", "G_ema"):
        tensors |= module_tensors(name, getattr(state, name))
    scalars = {}
    for name, module in (("opt_G", state.G), ("opt_D", state.D)):
        of_optimizer, scalars[name] = optimizer_tensors(name, getattr(state, name), module.named_parameters())
        tensors |= of_optimizer
    metadata = {
        "kind": "stylegan2",
        "generator": built_as(state.G),
        **stored_label_rows(state.G_ema),
        "cur_nimg": state.cur_nimg,
        "settings": asdict(s),
        "augmentation": {name: float(value) for name, value in vars(state.control).items()},
        "best_metric": state.best_metric if math.isfinite(state.best_metric) else None,
        "optimizers": scalars,
    }
    return tensors, metadata


def resume(state: TrainingState, run_dir: Path, s: TrainingSettings) -> Path | None:
    """Resume from the newest intact checkpoint of run_dir.

    Args:
        state: The state, which is changed in place.
        run_dir: The folder of the run, with or without checkpoints/.
        s: The settings of the resumed training. Settings of growing must not change; the batch size may.

    Returns:
        The path of the checkpoint, or None if there is none yet.

    Raises:
        UserError: The checkpoint has another architecture or schedule, or lacks the state of a training.
    """
    newest = checkpoint.newest(run_dir)
    if newest is None:
        return None
    path, tensors, metadata = newest
    checkpoint.check_resumable(path, metadata, ("settings", "optimizers", "cur_nimg"))
    requested = json.loads(json.dumps(asdict(s)))  # as it is after a round trip through JSON
    with reading(path, "a training's checkpoint", CheckpointError):
        if not is_of(state.G, metadata.get("generator")):
            raise UserError(f"{path} has another architecture than the one requested: use another exp_dir")
        for name in FIXED_FOR_A_RUN:
            trained = metadata["settings"].get(name, requested[name])
            if trained != requested[name]:
                what = name.replace("_", " ")
                raise UserError(f"{path} was trained with {what} {trained}: keep it, or use another exp_dir")
        load_networks(state, tensors)
        for name, module in (("opt_G", state.G), ("opt_D", state.D)):
            load_optimizer(getattr(state, name), module.named_parameters(), tensors, metadata["optimizers"][name])
        state.path_length_mean.copy_(tensors["path_length_mean"])
        state.cur_nimg = checkpoint.whole_number(metadata, "cur_nimg")
        best_metric = metadata.get("best_metric")
        state.best_metric = math.inf if best_metric is None else float(best_metric)
        if s.adapts:
            state.control = Controller(**metadata.get("augmentation", {}))
        changed = [name for name in BATCHES if metadata["settings"].get(name, requested[name]) != requested[name]]
    print(f"resuming from {path.name} at {state.cur_nimg:,} images")
    if changed:
        names = " and ".join(changed)
        print(f"{names} changed since the checkpoint, so the result will differ from that of an uninterrupted run")
    return path


def load_networks(state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    """Load G, D and G_ema from tensors; D may be missing where only a generator was given."""
    for name in ("G", "D", "G_ema"):
        if name != "D" or any(key.startswith("D.") for key in tensors):
            load_module(getattr(state, name), tensors, name)


def is_of(G: Generator, description: Any) -> bool:
    """Return whether a checkpoint's "generator" describes G; settings that old versions lack have their defaults."""
    try:
        return GENERATORS.config(**description) == built_as(G)
    except (TypeError, UserError):  # not a description, or one with unknown settings
        return False
