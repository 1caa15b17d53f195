"""The one table of presets: name -> settings that differ from the defaults. Flags given by the user win."""

from typing import Any

STYLEGAN2: dict[str, dict[str, Any]] = {
    # 64 px on a laptop: at most 128 channels, 20 to 30 images/s on two cores.
    "tiny-cpu": {
        "resolution": 64,
        "z_dim": 128,
        "w_dim": 128,
        "channel_base": 2048,
        "channel_max": 128,
        "mapping_layers": 4,
        "batch_size": 8,
        "ema_nimg": 5_000,
        "r1_gamma": 0.5,
        "total_nimg": 500_000,
        "save_interval": 20_000,
    },
    # The StyleGAN2 paper's Table 1: E has half the feature maps of F from 64 px upwards.
    "config-e": {"channel_base": 16384, "batch_size": 32, "r1_gamma": 10.0},
    "config-f": {"channel_base": 32768, "batch_size": 32, "r1_gamma": 10.0},
    # StyleGAN2-ADA's configuration for 256 px.
    "paper256": {
        "resolution": 256,
        "channel_base": 16384,
        "batch_size": 64,
        "learning_rate": 0.0025,
        "r1_gamma": 1.0,
        "ema_nimg": 20_000,
        "ema_rampup": None,
        "mbstd_group": 8,
    },
}

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
