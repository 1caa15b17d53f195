"""Presets for training an encoder: settings that differ from the defaults. Flags of the user take precedence.

Without a preset, a light encoder of a small generator is trained with the settings of `light`, because the 300,000
steps at a low learning rate of the paper are meant for a generator of 1024 px.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stylegan2.runtime.errors import UserError

LARGEST_LIGHT = 128
"""px, largest side of a generator for which `encoder_type auto` is light"""
SHIPPED = "synthfaces64"

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
    "light-e4e": {
        "encoder_type": "light_e4e",
        "batch_size": 16,
        "learning_rate": 1e-3,
        "decay_from": 0.3,
        "max_steps": 30_000,
        "progressive_start": 3_000,
        "progressive_step_every": 300,
        "val_interval": 1_000,
        "save_interval": 1_000,
        "image_interval": 500,
    },
    # The light encoder of a small generator, a few hours on a laptop.
    "light": {
        "batch_size": 16,
        "learning_rate": 1e-3,
        "decay_from": 0.3,
        "max_steps": 30_000,
        "val_interval": 1_000,
        "save_interval": 1_000,
        "image_interval": 500,
    },
}


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
