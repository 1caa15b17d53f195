"""The settings of scripts/train_psp.py."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from options.losses import loss_settings
from options.machine import Machine
from options.presets import PSP, psp_settings
from options.registered import one_of, read_names
from options.tasks import task_settings
from psp.training_settings import TrainingSettings
from stylegan2.runtime.ranges import Positive, Workers

PRESETS = psp_settings
LossSettings = loss_settings()
TaskSettings = task_settings("training")


@dataclass(frozen=True)
class TrainPSp(Machine):
    """Train a pSp encoder for a generator. To resume, run the same command again."""

    task: Annotated[str, one_of(read_names("datasets.tasks", "register_task"))] = "inversion"
    """the translation to learn: a file of datasets/tasks"""
    data: Annotated[str, tyro.conf.arg(aliases=["--data_path"])] = "synthetic"
    """a folder or zip of images, WebDataset shards such as FOLDER/{000000..000999}.tar, here or by URL, or `synthetic`
    for the embedded procedural faces"""
    source_data: str | None = None
    """a folder or zip of what the encoder sees of each image of --data, matched by name"""
    test_data: Annotated[str | None, tyro.conf.arg(aliases=["--test_data_path"])] = None
    """images for validation; by default some of the data are held out"""
    test_source_data: str | None = None
    """what the encoder sees of each image of --test_data"""
    augment: bool = False
    """change place and colours of the training images a little"""
    exp_dir: Path | None = None
    """experiment folder: checkpoints, TensorBoard logs, metrics.jsonl, config.yaml, a sheet of training pairs; by
    default runs/TASK-GENERATOR"""
    stylegan_weights: str | None = None
    """the generator: a shipped name, an experiment folder, or a file of ours, rosinality's or NVIDIA's; by default that
    of --checkpoint_path, and synthfaces64 without one"""
    checkpoint_path: Path | None = None
    """start from the encoder of this checkpoint, experiment folder or published pSp, e4e or ReStyle file"""
    encoder_type: Annotated[str, one_of(["auto", *read_names("psp.encoders", "ENCODERS.register")])] = "auto"
    """an encoder of psp/encoders; auto takes that of --checkpoint_path, else `light` for generators up to 128 px and
    `gradual` above"""
    trunk_weights: Path | None = None
    """start the trunk of the encoder from an ArcFace IR-SE50 file (model_ir_se50.pth), as the paper does"""
    start_from_latent_avg: bool = True
    """let the encoder predict offsets to the generator's mean latent"""
    preset: Annotated[str | None, one_of(PSP)] = None
    """a named set of defaults; flags given beside it win"""
    workers: Workers = 1
    """processes that read or render images"""
    process_timeout: Positive = 60.0
    """seconds after which a process of torchrun that shows no sign of life ends the others"""
    dry_run: bool = False
    """print settings, sizes of networks, and what a few steps need of memory and time; write nothing"""
    task_settings: tyro.conf.OmitArgPrefixes[TaskSettings] = field(default_factory=TaskSettings)  # pyright: ignore[reportInvalidTypeForm]
    losses: tyro.conf.OmitArgPrefixes[LossSettings] = field(default_factory=LossSettings)  # pyright: ignore[reportInvalidTypeForm]
    training: tyro.conf.OmitArgPrefixes[TrainingSettings] = field(default_factory=TrainingSettings)
