"""Groups that share some work: as threads of this process, or as the processes that torchrun starts."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torch import distributed

from stylegan2.runtime.work_group import WorkGroup

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


def torchrun(size, script, *arguments, cwd=None):
    """Start a script under torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={size}"]
    words = [*command, str(REPOSITORY / "scripts" / script), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(words, cwd=cwd, env=environment, **streams)


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
    """List the processes that a process started and that run a script of ours."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"scripts" in Path(f"/proc/{child}/cmdline").read_bytes()]


def finish(launcher, timeout=300):
    """Wait for a torchrun: (exit code, what was printed)."""
    timer = threading.Timer(timeout, launcher.kill)
    timer.start()
    printed = launcher.communicate()[0]
    timer.cancel()
    return launcher.returncode, printed
