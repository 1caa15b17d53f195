"""The one table of presets: name -> settings that differ from the defaults. Flags given by the user win."""

from collections.abc import Callable, Mapping
from typing import Any

from stylegan2.runtime.errors import UserError

Settings = dict[str, Any]

# 64 px on a laptop: at most 128 channels. What the three systems have in common.
TINY_CPU: Settings = {
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
}
TINY_GROWING: Settings = {**TINY_CPU, "batch_sizes": {4: 32, 8: 32, 16: 16}, "fade_nimg": 40_000, "stable_nimg": 40_000}


def auto(resolution: int, batch_size: int | None) -> Settings:
    """StyleGAN2-ADA's configuration of this name on one GPU: sizes from resolution and batch, R1's weight likewise."""
    batch_size = batch_size or max(1, min(4096 // resolution, 32))
    return {
        "batch_size": batch_size,
        "mbstd_group": min(batch_size, 4),
        "channel_base": 32768 if resolution >= 512 else 16384,
        "mapping_layers": 2,
        "learning_rate": 0.002 if resolution >= 1024 else 0.0025,
        "r1_gamma": 0.0002 * resolution**2 / batch_size,
        "ema_nimg": batch_size * 10_000 / 32,
    }


# What each architecture was published with; its presets are changes to that.
PUBLISHED: dict[str, Settings] = {
    "stylegan2": {},
    # StyleGAN2's Table 1, A.
    "stylegan": {
        "channel_base": 16384,
        "grow_from": 8,
        "batch_size": 32,
        "batch_sizes": {8: 256, 16: 128, 32: 64, 64: 32},
        "learning_rate": 0.001,
        "learning_rates": {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003},
        "r1_gamma": 10.0,
        "lazy_r1": False,
        "path_length_interval": 0,
        "ema_rampup": None,
    },
    # PGGAN, appendix A.
    "pggan": {
        "channel_base": 16384,
        "grow_from": 4,
        "fade_nimg": 800_000,
        "stable_nimg": 800_000,
        "batch_size": 16,
        "batch_sizes": {256: 14, 512: 6, 1024: 3},
        "learning_rate": 0.001,
        "loss": "wgan",
        "r1_gamma": 10.0,
        "lazy_r1": False,
        "path_length_interval": 0,
        "style_mixing": 0.0,
        "ema_nimg": 11_000,
        "ema_rampup": None,
        "total_nimg": 19_000_000,
    },
}
# What --d projected is trained with, whatever the architecture: Sauer et al. 2021.
PROJECTED: Settings = {"loss": "hinge", "r1_interval": 0, "path_length_interval": 0}
GAN: dict[str, dict[str, Settings | Callable[[int, int | None], Settings]]] = {
    "stylegan2": {
        "tiny-cpu": TINY_CPU,
        "auto": auto,
        # The StyleGAN2 paper's Table 1: E has half the feature maps of F from 64 px upwards.
        "config-e": {"channel_base": 16384, "batch_size": 32, "r1_gamma": 100.0, "ema_rampup": None},
        "config-f": {"channel_base": 32768, "batch_size": 32, "r1_gamma": 10.0, "ema_rampup": None},
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
    },
    "stylegan": {
        # R1 is lazy, unlike as published: half of a step's time.
        "tiny-cpu": {
            **TINY_GROWING,
            "lazy_r1": True,
            "learning_rate": 0.002,
            "learning_rates": {},
            "ema_rampup": 0.05,
        },
        # The StyleGAN2 paper's Table 1: StyleGAN, weight demodulation, lazy regularization, path length.
        "config-a": {},
        "config-b": {"normalization": "demodulation"},
        "config-c": {"normalization": "demodulation", "lazy_r1": True},
        "config-d": {"normalization": "demodulation", "lazy_r1": True, "path_length_interval": 4},
    },
    "pggan": {"tiny-cpu": {**TINY_GROWING, "ema_rampup": 0.05}},
}


def of_generator(given: Mapping[str, str]) -> Settings:
    """What --arch, --preset and --d stand for: what the architecture was published with, changed by the preset.

    Without --arch it is the first one that has the preset.
    """
    name, arch = given.get("--preset"), given.get("--arch")
    if arch is None:
        arch = next((arch for arch, presets in GAN.items() if name is None or name in presets), "stylegan2")
    if arch not in GAN:
        raise UserError(f"there is no architecture {arch!r}: choose one of {', '.join(GAN)}")
    projected = PROJECTED if given.get("--d") == "projected" else {}
    return {"arch": arch, **PUBLISHED[arch], **_preset(name, arch, given), **projected}


def _preset(name: str | None, arch: str, given: Mapping[str, str]) -> Settings:
    if name is None:
        return {}
    if name not in GAN[arch]:
        others = [other for other in GAN if name in GAN[other]]
        elsewhere = f" (it is one of --arch {others[0]})" if others else ""
        raise UserError(f"there is no preset {name!r}{elsewhere}: choose one of {', '.join(GAN[arch])}")
    preset = GAN[arch][name]
    return preset(_number(given, "--resolution") or 64, _number(given, "--batch_size")) if callable(preset) else preset


def _number(given: Mapping[str, str], flag: str) -> int | None:
    """None too for what is no positive number: parsing will say so."""
    word = given.get(flag, "")
    return int(word) or None if word.isdecimal() else None


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
