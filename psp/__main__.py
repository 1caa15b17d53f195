"""The command `psp`, also `python -m psp`, which runs the scripts of a checkout by name.

The application (`datasets`, `options`, `scripts`) is psp/_application in a wheel, and beside `psp` in a checkout. Its
folder comes first on sys.path in this process alone: elsewhere `import datasets` is Hugging Face's package.
"""

import importlib
import sys
from pathlib import Path


def application() -> Path:
    """Return the folder that contains `datasets`, `options` and `scripts`."""
    here = Path(__file__).resolve().parent
    carried = here / "_application"
    return carried if carried.is_dir() else here.parent


def main() -> None:
    """Run the command that the command line names, and exit with its code."""
    sys.path.insert(0, str(application() / "scripts"))
    importlib.import_module("_start")  # puts the application first, and sets what counts before PyTorch is imported
    importlib.import_module("options.commands").main()


if __name__ == "__main__":
    main()
