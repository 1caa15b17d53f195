"""Several outputs for each photo: python scripts/style_mixing.py --data_path FOLDER --exp_dir OUT --latent_mask fine"""

import _start  # noqa: F401

# isort: split

from dataclasses import dataclass, field

import tyro

from options.parse import run
from scripts.inference import Inference, MultiModal, main


@dataclass(frozen=True)
class StyleMixing(Inference):
    """Several outputs for each photo: most of w+ is the encoder's, and the rows of --latent_mask get random styles."""

    multi_modal: tyro.conf.OmitArgPrefixes[MultiModal] = field(default_factory=lambda: MultiModal(n_outputs=5))


if __name__ == "__main__":
    run(main, StyleMixing)
