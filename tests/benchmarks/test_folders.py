"""The benchmark of large folders at toy sizes."""

import json

import pytest

from benchmarks import folders
from tests.forks import PROGRAMS


def test_a_line_for_each_command_and_size():
    rows = [
        {"command": "inference", "photos": 1_000, "ms": 12.34, "MB": 600.4, "KB": 2.346},
        {"command": "align_faces", "photos": 100_000, "ms": 5.0, "MB": 512.0, "KB": 0.5},
    ]
    assert folders.table(rows).splitlines()[2:] == [
        "| inference | 1,000 | 12.3 | 600 | 2.35 |",
        "| align_faces | 100,000 | 5.0 | 512 | 0.50 |",
    ]


def test_folders_have_as_many_photos(tmp_path):
    assert len(list(folders.write_photos(tmp_path / "in", 60).iterdir())) == 60


@pytest.mark.slow
def test_every_command_runs_over_a_small_folder(tmp_path):
    done = PROGRAMS.run([folders.__file__, "--counts", "40", "--out", "out.json"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [(row["command"], row["photos"]) for row in rows] == [(name, 40) for name in folders.COMMANDS]
    assert all(row["MB"] > 50 for row in rows)
