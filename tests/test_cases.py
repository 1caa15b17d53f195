"""Situations from public reports about similar software, those of shared/cases next to the checkout, are handled.

A case is a program of its own, `run.sh PROJECT PYTHON`, that exits with 0 where the project behaves well.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CASES = Path(os.environ.get("PSP_TEST_CASES") or REPOSITORY.parent / "shared" / "cases")
NAMES = sorted(path.parent.name for path in CASES.glob("*/run.sh"))
SECONDS = 1800


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
@pytest.mark.skipif(not NAMES, reason=f"there are no cases at {CASES}; set PSP_TEST_CASES to their folder")
@pytest.mark.parametrize("name", NAMES or ["none"])
def test_a_case_ends_well(name, tmp_path):
    cases = tmp_path / "cases"
    shutil.copytree(CASES / name, cases / name)
    shutil.copy(CASES / "kit.py", cases)
    command = ["sh", str(cases / name / "run.sh"), str(REPOSITORY), sys.executable]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
