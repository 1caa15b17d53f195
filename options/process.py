"""Settings of the process that count only before PyTorch is imported: every script imports this first."""

import os

# Threads that wait must not spin: on a busy machine they would keep the cores from the threads they are waiting for.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
