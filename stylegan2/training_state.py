"""GAN training's settings, what a step changes, and how a checkpoint holds it."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylegan2 import losses, schedule
from stylegan2.augment import PIPELINES, Controller
from stylegan2.networks.protocols import Discriminator, Generator
from stylegan2.networks.registry import GENERATORS
from stylegan2.networks.sizes import is_power_of_two
from stylegan2.runtime import checkpoint, distributed
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.precision import check_precision
from stylegan2.runtime.registry import built_as

BETAS = (0.0, 0.99)
SMALLEST_AUGMENTED = 16
PATH_LENGTH_BATCH_SHRINK = 2  # the paper regularizes on half the batch
FIXED_FOR_A_RUN = ("grow_from", "fade_nimg", "stable_nimg")
BATCHES = ("batch_size", "batch_sizes")


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the GAN loop. Images are counted as in the papers: cur_nimg is the number of real images shown."""

    total_nimg: int = 25_000_000
    """train until this many real images were shown"""
    batch_size: int = 32
    """images a step"""
    batch_gpu: int | None = None
    """images that a process works on at once: larger batches are worked through in rounds, which saves memory and gives
    the same result"""
    batch_sizes: dict[int, int] = field(default_factory=dict)
    """images a step at the resolutions that are named, such as `8 256 16 128`; at the others it is batch_size"""
    learning_rate: float = 0.002
    """Adam's, for both networks (before the correction for lazy regularization)"""
    learning_rates: dict[int, float] = field(default_factory=dict)
    """learning rate at the resolutions that are named, such as `512 0.002`; at the others it is learning_rate"""
    loss: str = "logistic"
    """logistic, with R1, wgan, with gradient penalty and drift, or hinge"""
    r1_gamma: float | None = None
    """weight of R1; by default 0.0002 * resolution^2 / batch size"""
    r1_interval: int = 16
    """steps between R1 phases; 0 turns R1 off"""
    lazy_r1: bool = True
    """R1 in phases of its own; without, it joins the discriminator's loss in every step"""
    gradient_penalty: float = 10.0
    """weight of the gradient penalty of the wgan loss"""
    drift: float = 0.001
    """weight of the drift term of the wgan loss"""
    path_length_weight: float = 2.0
    """weight of path length regularization"""
    path_length_interval: int = 4
    """steps between path length phases; 0 turns it off"""
    style_mixing: float = 0.9
    """probability that a sample mixes two latents"""
    grow_from: int | None = None
    """resolution at which growing networks start; by default they have their full size from the beginning"""
    fade_nimg: int = 600_000
    """images over which a new resolution fades in"""
    stable_nimg: int = 600_000
    """images for which a resolution is trained before the next one fades in"""
    augment: str = "none"
    """what both networks' images pass through before the discriminator: none, or b (flips, turns and shifts),
    bg (also scales and rotations) or bgc (also colours), with a probability that adapts itself (ADA)"""
    augment_p: float | None = None
    """that probability, if it is to stay the same"""
    ada_target: float = 0.6
    """where ADA keeps the mean sign of the discriminator's logits for real images"""
    ada_nimg: int = 500_000
    """images over which that probability could go from 0 to 1"""
    freeze_d: int = 0
    """layers of the discriminator, counted from the image, that stay as they start"""
    ema_nimg: float = 10_000
    """half-life of the generator's moving average, in images"""
    ema_rampup: float | None = 0.05
    """early on the half-life is at most this share of cur_nimg"""
    precision: str = "auto"
    """fp32, tf32 (products of a GPU rounded), bf16 or fp16 (the four highest resolutions in 16-bit numbers, the rest in
    tf32), or auto: fp16 on CUDA, fp32 elsewhere"""
    deterministic: bool = False
    """on a GPU too, the same numbers at every run and after every resume: slower"""
    log_interval: int = 1_000
    """images between entries in TensorBoard and metrics.jsonl"""
    image_interval: int = 10_000
    """images between sample grids"""
    save_interval: int = 50_000
    """images between checkpoints"""
    metrics_interval: int = 200_000
    """images between measurements of the generator, where some are asked for; the best one is kept"""
    keep_checkpoints: int = 3
    """how many checkpoints stay on disk"""
    max_nonfinite_steps: int = 20
    """stop when so many steps in a row were skipped because a loss or a gradient was NaN or infinite"""
    seed: int = 0
    """seed of everything random"""

    def __post_init__(self) -> None:
        counts = ("total_nimg", "batch_size", "keep_checkpoints", "max_nonfinite_steps", "ada_nimg")
        for name in (*counts, "log_interval", "image_interval", "save_interval", "metrics_interval"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")
        weights = ("gradient_penalty", "drift", "path_length_weight")
        for name in ("r1_interval", "path_length_interval", "seed", "fade_nimg", "freeze_d", *weights):
            if getattr(self, name) < 0:
                raise UserError(f"{name} must not be negative, but is {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise UserError(f"learning_rate must be positive, not {self.learning_rate}")
        if self.batch_gpu is not None and self.batch_gpu < 1:
            raise UserError(f"batch_gpu must be at least 1, not {self.batch_gpu}")
        check_precision(self.precision)
        if self.loss not in losses.OF_G:
            raise UserError(f"loss must be {' or '.join(losses.OF_G)}, not {self.loss!r}")
        if self.augment != "none" and self.augment not in PIPELINES:
            raise UserError(f"augment must be none, {' or '.join(PIPELINES)}, not {self.augment!r}")
        if self.augment_p is not None and not 0 <= self.augment_p <= 1:
            raise UserError(f"augment_p is a probability from 0 to 1, not {self.augment_p}")
        if self.adapts and self.loss == "wgan":
            raise UserError("augment cannot adapt itself to the sign of logits with wgan: give augment_p")
        if self.stable_nimg < 1:
            raise UserError(f"stable_nimg must be at least 1, not {self.stable_nimg}")
        for name, values in (("batch_sizes", self.batch_sizes), ("learning_rates", self.learning_rates)):
            for resolution, value in values.items():
                if not is_power_of_two(resolution) or value <= 0:
                    raise UserError(f"{name}: pairs of a power of two and a positive number, not {resolution} {value}")

    def stage(self, cur_nimg: int, img_resolution: int) -> schedule.Stage:
        """Return where growing stands in the step that starts at cur_nimg."""
        return schedule.stage(cur_nimg, img_resolution, self.grow_from, self.fade_nimg, self.stable_nimg)

    def batch_size_at(self, cur_nimg: int, img_resolution: int) -> int:
        """Return the number of images of the step that starts at cur_nimg."""
        resolution = self.stage(cur_nimg, img_resolution).resolution
        return schedule.at_resolution(self.batch_sizes, resolution, self.batch_size)

    @property
    def adapts(self) -> bool:
        """Return whether the probability of augmentation follows the discriminator."""
        return self.augment != "none" and self.augment_p is None

    @property
    def lazy_r1_interval(self) -> int:
        """Return the steps between R1 phases, or 0 where R1 has no phases of its own."""
        return self.r1_interval if self.lazy_r1 and self.loss != "wgan" else 0


def check_fit(s: TrainingSettings, img_resolution: int, grows: bool, has_styles: bool) -> None:
    """Refuse settings that do not fit a generator.

    Args:
        s: The settings.
        img_resolution: The generator's full resolution.
        grows: Whether it can be trained from low resolutions up.
        has_styles: Whether each of its layers has a code of its own.

    Raises:
        UserError: A setting does not fit.
    """
    if s.grow_from is not None and not grows:
        raise UserError("this generator has its full resolution from the beginning: leave out grow_from")
    if s.grow_from is not None and not (is_power_of_two(s.grow_from) and 4 <= s.grow_from <= img_resolution):
        raise UserError(f"grow_from must be a power of two from 4 to {img_resolution}, not {s.grow_from}")
    if s.augment != "none" and s.grow_from is not None and s.grow_from < SMALLEST_AUGMENTED:
        raise UserError(f"augment needs images of {SMALLEST_AUGMENTED} px and more: use grow_from 16 or none")
    if s.style_mixing > 0 and not has_styles:
        raise UserError("this generator has one latent for the whole image, so none to mix: use style_mixing 0")


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


def snapshot(state: TrainingState, s: TrainingSettings) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return (tensors, metadata) of a checkpoint of this state."""
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
        "generator": built_as(state.G),
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
    if not is_of(state.G, metadata.get("generator")):
        raise UserError(f"{path} holds another architecture than was asked for: use another exp_dir")
    requested = json.loads(json.dumps(asdict(s)))  # as JSON gives it back
    for name in FIXED_FOR_A_RUN:
        trained = metadata["settings"].get(name, requested[name])
        if trained != requested[name]:
            what = name.replace("_", " ")
            raise UserError(f"{path} was trained with {what} {trained}: keep it, or use another exp_dir")
    load_networks(state, tensors)
    for name, module in (("opt_G", state.G), ("opt_D", state.D)):
        checkpoint.load_optimizer(
            getattr(state, name), module.named_parameters(), tensors, metadata["optimizers"][name]
        )
    state.path_length_mean.copy_(tensors["path_length_mean"])
    state.cur_nimg = metadata["cur_nimg"]
    best_metric = metadata.get("best_metric")
    state.best_metric = math.inf if best_metric is None else best_metric
    if s.adapts:
        state.control = Controller(**metadata.get("augmentation", {}))
    print(f"resuming from {path.name} at {state.cur_nimg:,} images")
    if changed := [name for name in BATCHES if metadata["settings"].get(name, requested[name]) != requested[name]]:
        names = " and ".join(changed)
        print(f"with another {names} than before, so the result is not that of an uninterrupted run")
    return path


def load_networks(state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    """Load the networks G, D and G_ema that `tensors` hold; D may be missing where only a generator is given."""
    for name in ("G", "D", "G_ema"):
        if name != "D" or any(key.startswith("D.") for key in tensors):
            checkpoint.load_module(getattr(state, name), tensors, name)


def is_of(G: Generator, description: Any) -> bool:
    """Whether a checkpoint's "generator" describes this one; what an older version did not know has its default."""
    try:
        return GENERATORS.config(**description) == built_as(G)
    except (TypeError, UserError):  # no description at all, or one of settings that are not known
        return False
