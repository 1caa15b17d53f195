"""The settings of an encoder's training, which can be read and checked without PyTorch."""

from dataclasses import dataclass

from stylegan2.runtime.choices import PRECISIONS, parse_reporters
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Count, NotNegative, Positive, Seed, Share, Weight, check_ranges

OPTIMIZERS = ("ranger", "adam")


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the encoder loop, counted in steps as in the published code."""

    max_steps: Count = 300_000
    """train until this many steps; for a light encoder of a generator up to 128 px, 30,000 by default, of 16 images, at
    a learning rate of 1e-3 that falls from 0.3 on"""
    batch_size: Count = 8
    """images a step, of all processes together"""
    accumulate: Count = 1
    """parts in which each process works through its images of a step, to save memory; their gradients add up, but batch
    normalization sees a part at a time"""
    precision: str = "auto"
    """fp32, tf32, bf16, fp16, or auto: bf16 on a GPU and fp32 elsewhere; weights and sums stay in float32"""
    deterministic: bool = False
    """on a GPU too, the same numbers at every run and after every resume: slower"""
    test_batch_size: Count = 8
    """images a validation step"""
    learning_rate: Positive = 1e-4
    """of the optimizer, per step"""
    decay_from: Share = 1.0
    """share of max_steps after which the learning rate falls linearly to 0; 1 keeps it constant, as the paper does"""
    optim_name: str = "ranger"
    """ranger or adam"""
    train_decoder: bool = False
    """train the generator too"""
    freeze_w_plus: bool = False
    """feature encoders: keep the part that gives w_plus as it is, and train the correction of features alone"""
    progressive_start: NotNegative = 20_000
    """encoders of deltas (e4e): step from which the first delta learns"""
    progressive_step_every: NotNegative = 2_000
    """encoders of deltas (e4e): steps until the next one learns too; 0 starts all at once"""
    w_discriminator_lambda: Weight | None = None
    """weight of the latent discriminator; by default 0.1 for encoders of deltas (e4e) and 0 for all others"""
    w_discriminator_lr: Positive = 2e-5
    """learning rate of the latent discriminator"""
    w_pool_size: NotNegative = 50
    """earlier codes that the latent discriminator is shown again; 0 for none"""
    generated_share: Share = 0.0
    """share of each batch that are samples of the generator, recoloured and blurred, whose codes are known"""
    latent_lambda: Weight = 1.0
    """weight of the mean squared difference from these codes"""
    report_to: str = "tensorboard"
    """what shows the training, beside metrics.jsonl: tensorboard, wandb, both with a comma between them, or none"""
    board_interval: Count = 50
    """steps between entries in TensorBoard and metrics.jsonl"""
    image_interval: Count = 500
    """steps between image rows in TensorBoard"""
    val_interval: Count = 2_500
    """steps between validations"""
    save_interval: Count = 5_000
    """steps between checkpoints"""
    keep_checkpoints: Count = 3
    """how many checkpoints stay on disk, beside the best"""
    max_nonfinite_steps: Count = 20
    """stop when so many steps in a row were skipped because a loss or a gradient was NaN or infinite"""
    seed: Seed = 0
    """seed of everything random"""

    def __post_init__(self) -> None:
        check_ranges(self)
        for name, choices in (("optim_name", OPTIMIZERS), ("precision", PRECISIONS)):
            if getattr(self, name) not in choices:
                raise UserError(f"{name} must be {' or '.join(choices)}, not {getattr(self, name)!r}")
        parse_reporters(self.report_to)

    @property
    def generated(self) -> int:
        """How many samples of a whole batch are generated."""
        return round(self.generated_share * self.batch_size)
