"""The settings of scripts/style_mixing.py."""

from dataclasses import dataclass, field

import tyro

from options.commands.inference import Inference, MultiModal


@dataclass(frozen=True)
class StyleMixing(Inference):
    """Make several outputs per photo, which differ by random styles in the rows of --latent_mask."""

    multi_modal: tyro.conf.OmitArgPrefixes[MultiModal] = field(default_factory=lambda: MultiModal(n_outputs=5))
