"""Presets of training an encoder: name -> settings that differ from the defaults. Flags given by the user win.

Without a preset, a light encoder of a small generator is trained as `light` says: the paper's 300,000 steps at a low
learning rate are made for a generator of 1024 px.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stylegan2.runtime.errors import UserError

LARGEST_LIGHT = 128
"""Pixels of a generator up to which `encoder_type auto` is light."""
SHIPPED = "synthfaces64"

PSP: dict[str, dict[str, Any]] = {
    # A few minutes on a laptop: enough to see the faces turn into the right ones.
    "demo": {
        "batch_size": 8,
        "learning_rate": 1e-3,
        "optim_name": "adam",
        "board_interval": 10,
        "image_interval": 50,
        "val_interval": 200,
        "save_interval": 200,
    },
    # e4e for a small generator: the deltas begin to learn at the same share of the training as published.
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
    # The light encoder of a small generator, on a laptop in some hours.
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
    """Return what differs from the defaults: the named preset, or what fits the size of the generator.

    Args:
        given: {"--flag": its first word} of the command line.

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
    if resolution is None or resolution > LARGEST_LIGHT or _goes_on(given):
        return {}
    fitting = PSP["light-e4e" if encoder == "light_e4e" else "light"]
    return {field: value for field, value in fitting.items() if field != "encoder_type"}


def _resolution(given: Mapping[str, str]) -> int | None:
    """Return the side of the generator's images; None where it cannot be read, which the command says itself."""
    name = given.get("--stylegan_weights") or given.get("--checkpoint_path") or SHIPPED
    if name == SHIPPED:
        return 64
    import stylegan2
    from psp import loading

    try:
        if "--stylegan_weights" in given:
            return stylegan2.load(name)[0].img_resolution
        return loading.load(name)[0].generator.img_resolution
    except UserError:
        return None


def _goes_on(given: Mapping[str, str]) -> bool:
    """Return whether a run is resumed that began with the paper's settings, before others were the default."""
    if "--exp_dir" not in given or not Path(given["--exp_dir"], "checkpoints").is_dir():
        return False
    from stylegan2.runtime import checkpoint

    newest = checkpoint.newest(Path(given["--exp_dir"]))
    settings = newest[2].get("settings") if newest is not None else None
    return isinstance(settings, dict) and settings.get("max_steps") == 300_000
