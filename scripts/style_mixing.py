"""Make several outputs per photo: python scripts/style_mixing.py --data_path FOLDER --exp_dir OUT --latent_mask fine"""

import _start  # noqa: F401

# isort: split

from options.commands.style_mixing import StyleMixing
from options.parse import run
from scripts.inference import main

if __name__ == "__main__":
    run(main, StyleMixing)
