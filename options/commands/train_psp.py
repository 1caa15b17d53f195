"""The settings and presets of scripts/train_psp.py.

Without a preset, a light encoder of a small generator is trained with the settings of `light`, because the 300,000
steps at a low learning rate of the paper are meant for a generator of 1024 px.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from options.losses import loss_settings
from options.registered import one_of, read_names
from options.shared import Machine
from options.tasks import task_settings
from psp.training_settings import TrainingSettings
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Positive, Workers

LossSettings = loss_settings()
TaskSettings = task_settings("training")

LARGEST_LIGHT = 128
"""px, largest side of a generator for which `encoder_type auto` is light"""
SHIPPED = "synthfaces64"
LIGHT = {
    "batch_size": 16,
    "learning_rate": 1e-3,
    "decay_from": 0.3,
    "max_steps": 30_000,
    "val_interval": 1_000,
    "save_interval": 1_000,
    "image_interval": 500,
}
PSP: dict[str, dict[str, Any]] = {
    # A few minutes on a laptop, which is enough to see the outputs become similar to the inputs.
    "demo": {
        "batch_size": 8,
        "learning_rate": 1e-3,
        "optim_name": "adam",
        "board_interval": 10,
        "image_interval": 50,
        "val_interval": 200,
        "save_interval": 200,
    },
    # e4e for a small generator. The deltas start to learn at the same fraction of the training as in the paper.
    "light-e4e": {"encoder_type": "light_e4e", **LIGHT, "progressive_start": 3_000, "progressive_step_every": 300},
    # The light encoder of a small generator, a few hours on a laptop.
    "light": LIGHT,
}


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


def psp_settings(given: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that differ from the defaults: those of the preset, or those for the size of the generator.

    Args:
        given: {"--flag": first word after it} of the command line.

    Raises:
        UserError: There is no preset of that name.
    """
    name = given.get("--preset")
    if name is not None:
        if name not in PSP:
            raise UserError(f"there is no preset {name!r}: choose one of {', '.join(PSP)}")
        return PSP[name]
    encoder = given.get("--encoder_type", "auto")
    if encoder != "auto" and not encoder.startswith("light"):
        return {}
    resolution = _resolution(given)
    if resolution is None or resolution > LARGEST_LIGHT or _resumes(given):
        return {}
    fitting = PSP["light-e4e" if encoder == "light_e4e" else "light"]
    return {field: value for field, value in fitting.items() if field != "encoder_type"}


def _resolution(given: Mapping[str, str]) -> int | None:
    """Return the side of the generator's images in pixels, or None if it cannot be read, which the command reports."""
    name = given.get("--stylegan_weights") or given.get("--checkpoint_path") or SHIPPED
    if name == SHIPPED:
        return 64
    from psp.loading import load_generator

    try:
        return load_generator(name).img_resolution
    except UserError:
        return None


def _resumes(given: Mapping[str, str]) -> bool:
    """Return whether the run to resume began with the paper's 300,000 steps, the default of earlier versions."""
    if "--exp_dir" not in given or not Path(given["--exp_dir"], "checkpoints").is_dir():
        return False
    from stylegan2.runtime import checkpoint

    newest = checkpoint.newest(Path(given["--exp_dir"]))
    settings = newest[2].get("settings") if newest is not None else None
    return isinstance(settings, dict) and settings.get("max_steps") == 300_000


PRESETS = psp_settings
