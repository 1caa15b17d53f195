"""The settings of scripts/style_mixing.py."""

from dataclasses import dataclass, field

import tyro

from options.commands.inference import Inference, MultiModal


@dataclass(frozen=True)
class StyleMixing(Inference):
    """Several outputs for each photo: most of w+ is the encoder's, and the rows of --latent_mask get random styles."""

    multi_modal: tyro.conf.OmitArgPrefixes[MultiModal] = field(default_factory=lambda: MultiModal(n_outputs=5))
