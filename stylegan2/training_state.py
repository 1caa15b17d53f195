"""What a step of GAN training changes, and how a checkpoint holds it."""

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
FIXED_FOR_A_RUN = ("grow_from", "fade_nimg", "stable_nimg")
BATCHES = ("batch_size", "batch_sizes")


def path_length_batch(batch: int) -> int:
    """Return on how many samples of a batch path lengths are regularized."""
    return max(1, batch // PATH_LENGTH_BATCH_SHRINK)


def number_of_rounds(share: int, batch_gpu: int | None, group: int = 1) -> int:
    """Return in how many equal rounds a process works through its share of a batch.

    Args:
        share: Samples of this process.
        batch_gpu: At most so many in a round; None takes all at once.
        group: Rounds must be a multiple of it, so that the groups of minibatch standard deviation stay whole.

    Raises:
        UserError: There are no such rounds.
    """
    largest = min(share, batch_gpu or share)
    for size in range(largest, 0, -1):
        if share % size == 0 and size % group == 0:
            return share // size
    raise UserError(
        f"{share} images cannot be worked through in rounds of at most {largest} with mbstd_group {group}: use "
        f"batch_gpu {group} or a multiple"
    )


def check_batches(s: TrainingSettings, img_resolution: int, mbstd_group: int, processes: int) -> None:
    """Refuse batches that do not fall into equal shares and rounds, or whose minibatch stddev groups would be torn.

    A group is of samples that are N / group apart (`layers.minibatch_stddev`), and a process has those that are
    `processes` apart: groups stay whole where N / group is a multiple of `processes`.

    Raises:
        UserError: There is such a batch.
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
    """All that a step changes, and so all that a checkpoint holds."""

    G: Generator
    D: Discriminator
    G_ema: Generator
    opt_G: torch.optim.Optimizer
    opt_D: torch.optim.Optimizer
    path_length_mean: Tensor  # [], moving average of path lengths
    control: Controller  # of augmentation
    cur_nimg: int = 0
    best_metric: float = math.inf  # the lowest value so far of the first metric that was asked for


def build_state(G: Generator, D: Discriminator, G_ema: Generator, s: TrainingSettings) -> TrainingState:
    """Return the state before the first step: G_ema gets G's weights, and each network an optimizer where it stands."""
    (lr_G, betas_G), (lr_D, betas_D) = adam_settings(s, s.learning_rate)
    G_ema.load_state_dict(G.state_dict())
    freeze(D, s.freeze_d)
    learning = [parameter for parameter in D.parameters() if parameter.requires_grad]
    return TrainingState(
        G.train(),
        D.train(),
        G_ema.eval().requires_grad_(False),
        # Fused optimizers are faster, and decide on the device whether they move (`Guard.check`).
        opt_G=torch.optim.Adam(G.parameters(), lr=lr_G, betas=betas_G, eps=1e-8, fused=True),
        opt_D=torch.optim.Adam(learning, lr=lr_D, betas=betas_D, eps=1e-8, fused=True),
        path_length_mean=torch.zeros([], device=next(G.parameters()).device),
        control=Controller(s.augment_p or 0.0),
    )


def adam_settings(s: TrainingSettings, learning_rate: float) -> list[tuple[float, tuple[float, float]]]:
    """Return (learning rate, betas) of G's and of D's optimizer, corrected for their lazy phases."""
    return [
        schedule.lazy_adam(learning_rate, BETAS, interval) for interval in (s.path_length_interval, s.lazy_r1_interval)
    ]


def schedule_learning_rate(state: TrainingState, s: TrainingSettings) -> None:
    """Set the learning rates of the step that starts at state.cur_nimg."""
    resolution = s.stage(state.cur_nimg, state.G.img_resolution).resolution
    settings = adam_settings(s, schedule.at_resolution(s.learning_rates, resolution, s.learning_rate))
    for optimizer, (learning_rate, _) in zip((state.opt_G, state.opt_D), settings, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate


def freeze(D: Discriminator, layers: int) -> None:
    """Keep the weights of the layers next to the image as they are: Freeze-D (Mo et al. 2020).

    Args:
        D: A discriminator whose layers are in `from_rgbs` and `blocks`.
        layers: How many, counted from the image.

    Raises:
        UserError: It does not have that many.
    """
    network: Any = D
    freezable = []
    for k, block in enumerate(getattr(network, "blocks", ())):  # a discriminator may be built otherwise
        if k == 0 or network.architecture == "skip":
            freezable.append(network.from_rgbs[k])
        freezable += [layer for layer in (block.conv0, block.conv1, block.skip) if layer is not None]
    if layers > len(freezable):
        raise UserError(f"freeze_d: the discriminator has {len(freezable)} layers that can be frozen, not {layers}")
    for layer in freezable[:layers]:
        layer.requires_grad_(False)


# --- checkpoints ---


def checkpoint_path(run_dir: Path, cur_nimg: int) -> Path:
    """Return where the checkpoint of a moment of a training is."""
    return checkpoint.checkpoint_path(run_dir, "network", cur_nimg)


def save(state: TrainingState, run_dir: Path, s: TrainingSettings, keep: int) -> Path:
    """Write a checkpoint and delete all but the `keep` newest. The first of several processes does it for all."""
    path = checkpoint_path(run_dir, state.cur_nimg)
    if distributed.is_first():
        checkpoint.save(path, *snapshot(state, s))
        checkpoint.prune(run_dir / "checkpoints", keep)
    return path


def save_best(state: TrainingState, run_dir: Path, s: TrainingSettings) -> Path:
    """Write the checkpoint of the best metric so far, which no later one replaces unless it is better."""
    path = run_dir / "checkpoints" / "best_model.safetensors"
    checkpoint.save(path, *snapshot(state, s))
    return path


def snapshot(state: TrainingState, s: TrainingSettings) -> tuple[dict[str, Tensor], Metadata]:
    """Return (tensors, metadata) of a checkpoint of this state."""
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
    """Continue from the newest intact checkpoint of run_dir.

    Args:
        state: Changed in place.
        run_dir: A folder with checkpoints/, or without.
        s: The settings to go on with. What growing depends on must be as it was; the batch size may change.

    Returns:
        The checkpoint, or None where there is none yet.

    Raises:
        UserError: The checkpoint is of another architecture or schedule, or no training can go on from it.
    """
    newest = checkpoint.newest(run_dir)
    if newest is None:
        return None
    path, tensors, metadata = newest
    checkpoint.check_resumable(path, metadata, ("settings", "optimizers", "cur_nimg"))
    requested = json.loads(json.dumps(asdict(s)))  # as JSON gives it back
    with reading(path, "a training's checkpoint", CheckpointError):
        if not is_of(state.G, metadata.get("generator")):
            raise UserError(f"{path} holds another architecture than was asked for: use another exp_dir")
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
        print(f"with another {names} than before, so the result is not that of an uninterrupted run")
    return path


def load_networks(state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    """Load the networks G, D and G_ema that `tensors` hold; D may be missing where only a generator is given."""
    for name in ("G", "D", "G_ema"):
        if name != "D" or any(key.startswith("D.") for key in tensors):
            load_module(getattr(state, name), tensors, name)


def is_of(G: Generator, description: Any) -> bool:
    """Whether a checkpoint's "generator" describes this one; what an older version did not know has its default."""
    try:
        return GENERATORS.config(**description) == built_as(G)
    except (TypeError, UserError):  # no description at all, or one of settings that are not known
        return False
