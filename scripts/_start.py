"""What every command does before it imports anything else: `import _start` finds this file beside the command.

The checkout comes first on sys.path, from whatever folder a command is called: an installed package called `datasets`,
such as Hugging Face's, must not be taken for ours. And settings of the process are made that count before PyTorch is
imported.
"""

import importlib.util
import multiprocessing
import os
import signal
import sys
import warnings
from pathlib import Path
from types import FrameType

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("tyro") is None:
    advice = "run `make install` once, then `source .venv/bin/activate`"
    print(f"error: this Python lacks the packages that psp needs: {advice}", file=sys.stderr)
    sys.exit(2)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# Threads that wait must not spin: on a busy machine they would keep the cores from the threads they are waiting for.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# cuBLAS reads this once; with another value its results may differ from run to run (--deterministic).
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# One line for a warning, without the source line: it is for who runs the command.
warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"


def _leave(signum: int, frame: FrameType | None) -> None:
    """End at once on a Ctrl-C while the command imports: an exception could be lost in the packages' own code."""
    os.write(2, b"interrupted\n")
    os._exit(130)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler and multiprocessing.parent_process() is None:
    signal.signal(signal.SIGINT, _leave)  # until `options.parse.run` calls the command itself
