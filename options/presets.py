"""Presets of training an encoder: name -> settings that differ from the defaults. Flags given by the user win."""

from typing import Any

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
