"""Several outputs for each photo: python scripts/style_mixing.py --data_path FOLDER --exp_dir OUT --latent_mask fine"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

from options.inference import StyleMixing
from options.parse import parse, run
from scripts.inference import infer


def main() -> int:
    return infer(parse(StyleMixing))


if __name__ == "__main__":
    run(main)
