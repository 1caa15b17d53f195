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
    """a folder or zip of images, WebDataset shards such as FOLDER/{000000..000999}.tar, local or by URL, or `synthetic`
    for the embedded procedural faces"""
    source_data: str | None = None
    """a folder or zip of the source of each image of --data, matched by name"""
    test_data: Annotated[str | None, tyro.conf.arg(aliases=["--test_data_path"])] = None
    """images for validation; by default a part of --data is held out"""
    test_source_data: str | None = None
    """the source of each image of --test_data"""
    augment: bool = False
    """change position and colours of the training images slightly"""
    exp_dir: Path | None = None
    """experiment folder: checkpoints, TensorBoard logs, metrics.jsonl, config.yaml, a sheet of training pairs; by
    default runs/TASK-GENERATOR"""
    stylegan_weights: str | None = None
    """the generator: a shipped name, an experiment folder, or a file of this package, rosinality or NVIDIA; by default
    the generator of --checkpoint_path, or synthfaces64 without --checkpoint_path"""
    checkpoint_path: Path | None = None
    """start from the encoder of this checkpoint, experiment folder or published pSp, e4e or ReStyle file"""
    encoder_type: Annotated[str, one_of(["auto", *read_names("psp.encoders", "ENCODERS.register")])] = "auto"
    """an encoder of psp/encoders; auto is the encoder of --checkpoint_path or else, for generators up to 128 px,
    `light`, and `gradual` above"""
    trunk_weights: Path | None = None
    """start the trunk of the encoder from an ArcFace IR-SE50 file (model_ir_se50.pth), as in the paper"""
    start_from_latent_avg: bool = True
    """let the encoder predict offsets to the generator's mean latent"""
    preset: Annotated[str | None, one_of(PSP)] = None
    """a named set of defaults; flags take precedence over it"""
    workers: Workers = 1
    """number of processes that read or render images"""
    process_timeout: Positive = 60.0
    """seconds without a sign of life from a process of torchrun after which the others end"""
    dry_run: bool = False
    """print settings, sizes of networks, and memory and time of a few steps; write nothing"""
    task_settings: tyro.conf.OmitArgPrefixes[TaskSettings] = field(default_factory=TaskSettings)  # pyright: ignore[reportInvalidTypeForm]
    losses: tyro.conf.OmitArgPrefixes[LossSettings] = field(default_factory=LossSettings)  # pyright: ignore[reportInvalidTypeForm]
    training: tyro.conf.OmitArgPrefixes[TrainingSettings] = field(default_factory=TrainingSettings)
