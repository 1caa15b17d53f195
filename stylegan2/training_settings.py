"""The settings of GAN training, which can be read and checked without PyTorch."""

from dataclasses import dataclass, field

from stylegan2 import schedule
from stylegan2.networks.sizes import is_power_of_two
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import (
    Count,
    NotNegative,
    Positive,
    Seed,
    Share,
    Weight,
    check_precision,
    check_ranges,
    parse_reporters,
)

LOSSES = ("logistic", "wgan", "hinge")  # the generator's, of losses.py
AUGMENTATIONS = ("b", "bg", "bgc")  # the sets of transforms of augment.py
SMALLEST_AUGMENTED = 16


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the GAN loop. Images are counted as in the papers: cur_nimg is the number of real images shown."""

    total_nimg: Count = 25_000_000
    """train until this many real images have been shown"""
    batch_size: Count = 32
    """images per step"""
    batch_gpu: Count | None = None
    """images that a process handles at once; a larger batch is split into rounds, which saves memory and gives the same
    result"""
    batch_sizes: dict[int, int] = field(default_factory=dict)
    """images per step at the named resolutions, such as `8 256 16 128`; at the others it is batch_size"""
    learning_rate: Positive = 0.002
    """learning rate of Adam for both networks (before the correction for lazy regularization)"""
    learning_rates: dict[int, float] = field(default_factory=dict)
    """learning rate at the named resolutions, such as `512 0.002`; at the others it is learning_rate"""
    g_learning_rate: Positive | None = None
    """learning rate of the generator at every resolution; by default that of the discriminator"""
    loss: str = "logistic"
    """logistic (with R1), wgan (with gradient penalty and drift) or hinge"""
    r1_gamma: Weight | None = None
    """weight of R1; by default 0.0002 * resolution^2 / batch size"""
    r1_interval: NotNegative = 16
    """steps between R1 phases; 0 turns R1 off"""
    lazy_r1: bool = True
    """compute R1 in phases of its own; otherwise it is part of the discriminator's loss in every step"""
    gradient_penalty: Weight = 10.0
    """weight of the gradient penalty of the wgan loss"""
    drift: Weight = 0.001
    """weight of the drift term of the wgan loss"""
    path_length_weight: Weight = 2.0
    """weight of path length regularization"""
    path_length_interval: NotNegative = 4
    """steps between path length phases; 0 turns path length regularization off"""
    style_mixing: Share = 0.9
    """probability that a sample mixes two latents"""
    grow_from: int | None = None
    """resolution at which growing networks start; by default they have their full resolution from the beginning"""
    fade_nimg: NotNegative = 600_000
    """images over which a new resolution fades in"""
    stable_nimg: Count = 600_000
    """images for which a resolution is trained before the next one fades in"""
    augment: str = "none"
    """augmentation of real and generated images before the discriminator: none, b (flips, turns and shifts), bg (also
    scales and rotations) or bgc (also colours), with a probability that adapts itself (ADA)"""
    augment_p: Share | None = None
    """fixed probability of augmentation, in place of the adaptive one"""
    ada_target: float = 0.6
    """target of ADA for the mean sign of the discriminator's logits on real images"""
    ada_nimg: Count = 500_000
    """images over which the adaptive probability can rise from 0 to 1"""
    freeze_d: NotNegative = 0
    """layers of the discriminator, counted from the image, whose weights are frozen"""
    freeze_synthesis: bool = False
    """train the mapping network only: the synthesis network and the mean of W stay those of the given generator, so
    that its encoders and directions stay valid"""
    ema_nimg: Weight = 10_000
    """half-life of the generator's moving average, in images"""
    ema_rampup: Positive | None = 0.05
    """largest half-life as a share of cur_nimg"""
    precision: str = "auto"
    """fp32, tf32 (rounded products on a GPU), bf16 or fp16 (the four highest resolutions in 16-bit numbers, the others
    in tf32), or auto: fp16 on CUDA, fp32 elsewhere"""
    deterministic: bool = False
    """compute the same numbers in every run and after every resume on a GPU too, which is slower"""
    log_interval: Count = 1_000
    """images between entries in TensorBoard and metrics.jsonl"""
    image_interval: Count = 10_000
    """images between sample grids"""
    save_interval: Count = 50_000
    """images between checkpoints"""
    metrics_interval: Count = 200_000
    """images between measurements of the generator, if metrics are given; the best checkpoint is kept"""
    report_to: str = "tensorboard"
    """where metrics are written, besides metrics.jsonl: tensorboard, wandb, both separated by a comma, or none"""
    keep_checkpoints: Count = 3
    """number of checkpoints that are kept"""
    max_nonfinite_steps: Count = 20
    """number of steps in a row with a NaN or infinite loss or gradient after which the training stops"""
    seed: Seed = 0
    """seed of all random numbers"""

    def __post_init__(self) -> None:
        check_ranges(self)
        check_precision(self.precision)
        parse_reporters(self.report_to)
        if self.loss not in LOSSES:
            raise UserError(f"loss must be {' or '.join(LOSSES)}, not {self.loss!r}")
        if self.augment != "none" and self.augment not in AUGMENTATIONS:
            raise UserError(f"augment must be none, {' or '.join(AUGMENTATIONS)}, not {self.augment!r}")
        if self.adapts and self.loss == "wgan":
            raise UserError(
                "adaptive augmentation does not work with the loss wgan: give a fixed probability augment_p"
            )
        for name, values in (("batch_sizes", self.batch_sizes), ("learning_rates", self.learning_rates)):
            for resolution, value in values.items():
                if not is_power_of_two(resolution) or value <= 0:
                    raise UserError(
                        f"{name} must be pairs of a power of two and a positive number, not {resolution} {value}"
                    )

    def stage(self, cur_nimg: int, img_resolution: int) -> schedule.Stage:
        """Return the state of growing in the step that starts at cur_nimg."""
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
    """Check that the settings fit a generator.

    Args:
        s: The settings.
        img_resolution: The generator's full resolution.
        grows: Whether the generator can be trained from low resolutions up.
        has_styles: Whether each layer of the generator has a code of its own.

    Raises:
        UserError: A setting does not fit.
    """
    if s.grow_from is not None and not grows:
        raise UserError("this generator has its full resolution from the beginning: leave out grow_from")
    if s.grow_from is not None and not (is_power_of_two(s.grow_from) and 4 <= s.grow_from <= img_resolution):
        raise UserError(f"grow_from must be a power of two from 4 to {img_resolution}, not {s.grow_from}")
    if s.augment != "none" and s.grow_from is not None and s.grow_from < SMALLEST_AUGMENTED:
        raise UserError(f"augment needs images of {SMALLEST_AUGMENTED} px or more: use grow_from 16 or none")
    if s.freeze_synthesis and not has_styles:
        raise UserError("this generator has no mapping network that could be trained alone: leave out freeze_synthesis")
    if s.freeze_synthesis and s.grow_from is not None:
        raise UserError("a synthesis network that is frozen cannot grow: leave out grow_from or freeze_synthesis")
    if s.style_mixing > 0 and not has_styles:
        raise UserError(
            "this generator has one latent for the whole image, so styles cannot be mixed: use style_mixing 0"
        )
