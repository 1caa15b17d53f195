"""Settings of the process that count before PyTorch is imported: every script imports this first."""

import os
import warnings

# Threads that wait must not spin: on a busy machine they would keep the cores from the threads they are waiting for.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# cuBLAS reads this once; with another value its results may differ from run to run (--deterministic).
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# One line for a warning, without the source line: it is for who runs the script.
warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"
