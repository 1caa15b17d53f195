"""The settings of an encoder's training, which can be read and checked without PyTorch."""

from dataclasses import dataclass

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

OPTIMIZERS = ("ranger", "adam")


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the encoder loop, counted in steps as in the published code."""

    max_steps: Count = 300_000
    """train until this many steps; for a light encoder of a generator up to 128 px, 30,000 by default, of 16 images, at
    a learning rate of 1e-3 that falls from 0.3 on"""
    batch_size: Count = 8
    """images per step, in all processes together"""
    accumulate: Count = 1
    """parts into which each process splits its images of a step to save memory; their gradients add up, but batch
    normalization sees one part at a time"""
    precision: str = "auto"
    """fp32, tf32, bf16, fp16, or auto: bf16 on a GPU and fp32 elsewhere; weights and sums stay in float32"""
    deterministic: bool = False
    """compute the same numbers in every run and after every resume on a GPU too, which is slower"""
    test_batch_size: Count = 8
    """images per validation step"""
    learning_rate: Positive = 1e-4
    """learning rate of the optimizer"""
    decay_from: Share = 1.0
    """share of max_steps after which the learning rate falls linearly to 0; 1 keeps it constant, as in the paper"""
    optim_name: str = "ranger"
    """ranger or adam"""
    train_decoder: bool = False
    """train the generator too"""
    freeze_w_plus: bool = False
    """feature encoders: freeze the part that gives w_plus, and train only the correction of features"""
    progressive_start: NotNegative = 20_000
    """encoders of deltas (e4e): step from which the first delta learns"""
    progressive_step_every: NotNegative = 2_000
    """encoders of deltas (e4e): steps until the next delta learns too; 0 unlocks all at once"""
    w_discriminator_lambda: Weight | None = None
    """weight of the latent discriminator; by default 0.1 for encoders of deltas (e4e) and 0 for all others"""
    w_discriminator_lr: Positive = 2e-5
    """learning rate of the latent discriminator"""
    w_pool_size: NotNegative = 50
    """number of earlier codes that are shown to the latent discriminator again; 0 for none"""
    generated_share: Share = 0.0
    """share of samples of the generator, whose codes are known, in each batch; they are recoloured and blurred"""
    latent_lambda: Weight = 1.0
    """weight of the mean squared difference from the codes of these samples"""
    report_to: str = "tensorboard"
    """where metrics are written, besides metrics.jsonl: tensorboard, wandb, both separated by a comma, or none"""
    board_interval: Count = 50
    """steps between entries in TensorBoard and metrics.jsonl"""
    image_interval: Count = 500
    """steps between image rows in TensorBoard"""
    val_interval: Count = 2_500
    """steps between validations"""
    save_interval: Count = 5_000
    """steps between checkpoints"""
    keep_checkpoints: Count = 3
    """number of checkpoints that are kept, besides the best"""
    max_nonfinite_steps: Count = 20
    """number of steps in a row with a NaN or infinite loss or gradient after which the training stops"""
    seed: Seed = 0
    """seed of all random numbers"""

    def __post_init__(self) -> None:
        check_ranges(self)
        check_precision(self.precision)
        parse_reporters(self.report_to)
        if self.optim_name not in OPTIMIZERS:
            raise UserError(f"optim_name must be {' or '.join(OPTIMIZERS)}, not {self.optim_name!r}")

    @property
    def generated(self) -> int:
        """Return the number of generated samples in a whole batch."""
        return round(self.generated_share * self.batch_size)
