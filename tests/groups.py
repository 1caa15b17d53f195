"""Groups that share work, as threads of this process or as the processes that torchrun starts."""

import os
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torch import distributed

from stylegan2.runtime.work_group import WorkGroup
from tests.forks import PROGRAMS, run_program

REPOSITORY = Path(__file__).resolve().parents[1]


def in_group(size, work, timeout=30.0):
    """Run work(group) in as many threads: what each returned. The first error of one of them is raised here."""
    store = distributed.HashStore()
    with ThreadPoolExecutor(size) as pool:
        started = [pool.submit(_member, WorkGroup(rank, size, store, timeout), work) for rank in range(size)]
        return [future.result() for future in started]


def _member(group, work):
    try:
        return work(group)
    finally:
        group.leave()


def torchrun(size, script, *arguments, cwd=None, out=None):
    """Start a script under torchrun, which forks the processes in place of starting Python for each of them."""
    words = [str(REPOSITORY / "scripts" / script), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return PROGRAMS.start(launch, size, words, cwd=cwd, env=environment, out=out, err=subprocess.STDOUT)


def launch(size, words):
    """Do in this process what `torchrun --standalone --nproc_per_node=SIZE WORDS` does."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    where = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": str(uuid.uuid4())}
    with tempfile.TemporaryDirectory() as tempfile.tempdir:  # for what it notes of each process
        config = LaunchConfig(1, 1, size, start_method="fork", max_restarts=0, **where)
        elastic_launch(config, run_rank)(words)


def run_rank(words):
    """Run a script as one process of a torchrun, which waits for a value of a process that ends well."""
    tempfile.tempdir = None
    try:
        run_program(words)
    except SystemExit as end:
        if end.code:
            raise


def kill_one(launcher, done, timeout=120):
    """Kill one of the processes of a torchrun, but the first, as soon as done() is true."""
    until = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < until, "nothing was done in time"
        assert launcher.poll() is None, launcher.communicate()[0]
        time.sleep(0.01)
    workers = children(launcher.pid)
    os.kill(max(workers), signal.SIGKILL)
    return len(workers)


def children(pid):
    """List the processes that a torchrun has forked; the command line of a fork is that of the server."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"forks.py" in Path(f"/proc/{child}/cmdline").read_bytes()]


def finish(launcher, timeout=300):
    """Wait for a torchrun: (exit code, what was printed)."""
    timer = threading.Timer(timeout, launcher.kill)
    timer.start()
    printed = launcher.communicate()[0]
    timer.cancel()
    return launcher.returncode, printed
