"""Start of every command, which runs before anything else is imported: `import _start` finds this file in scripts/.

The checkout is put first on sys.path, regardless of the current folder, so that an installed package called
`datasets`, such as that of Hugging Face, is not imported instead of ours. Settings of the process that have an effect
only before PyTorch is imported are made here as well.
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

# Waiting threads must not spin: on a busy machine they would occupy the cores that the other threads need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# cuBLAS reads this value once; with another value its results may differ between runs (--deterministic).
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# A warning is one line, without the source line, because it is meant for the user of the command.
warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"


def _leave(signum: int, frame: FrameType | None) -> None:
    """Exit at once on Ctrl-C during the imports of a command, because packages could suppress an exception."""
    os.write(2, b"interrupted\n")
    os._exit(130)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler and multiprocessing.parent_process() is None:
    signal.signal(signal.SIGINT, _leave)  # until `options.parse.run` restores it
