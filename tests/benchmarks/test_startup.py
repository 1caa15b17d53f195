"""The benchmark of starts at toy sizes."""

import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import startup
from stylegan2.runtime.image_files import list_pictures

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="it measures on Linux alone")


@pytest.mark.slow
def test_a_table_and_a_file(tmp_path):
    command = [sys.executable, startup.__file__, "--counts", "110", "--folder", ".", "--out", "out.json"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    kinds = ["zip", "zip, classes", "folder", "folder, classes"]
    assert [(row["data"], row["start"]) for row in rows] == [(kind, s) for kind in kinds for s in ("first", "again")]
    for row in rows:
        assert len(row["workers"]) == 2
        for worker in row["workers"]:
            assert 5 < worker["own"] <= worker["pss"] <= worker["rss"] < 300 < 2 * row["main"]["rss"]
    assert sum(line.startswith(("| zip", "| folder")) for line in done.stdout.splitlines()) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_both_kinds_hold_the_same_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(startup, "MAX_LINKS", 2)
    startup.write_zip(tmp_path / "a.zip", 300)
    startup.write_folder(tmp_path / "a", 300)
    listed = list_pictures(tmp_path / "a").names
    assert listed == list_pictures(tmp_path / "a.zip").names == sorted(startup.names(300))
    assert len({path.stat().st_ino for path in (tmp_path / "a").rglob("*.png")}) == 3 * startup.PICTURES - 20


def test_memory_is_that_of_the_process():
    # Not from the heap, which may keep what is freed: trainings that ran before in this process tune it so.
    with mmap.mmap(-1, 80_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        held.write(b"x" * len(held))
        before = startup.memory(os.getpid())
    after = startup.memory(os.getpid())
    assert before["own"] - after["own"] > 60
    assert after["own"] <= after["pss"] <= after["rss"]
