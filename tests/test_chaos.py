"""Killed trainings resume to the same result; `python tests/chaos.py --kills N` repeats this as often as wanted."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_thirty_kills_change_nothing():
    command = [sys.executable, str(Path(__file__).with_name("chaos.py")), "--kills", "30"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
