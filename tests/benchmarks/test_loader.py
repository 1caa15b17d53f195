"""The benchmark of the loader at toy sizes."""

import json
import time

import numpy as np

from benchmarks import loader
from datasets.folder import ImageFolder
from tests.forks import PROGRAMS


class Slow:
    """Images that take 10 ms each."""

    def __len__(self):
        return 50

    def __getitem__(self, index):
        time.sleep(0.01)
        return np.zeros((8, 8, 3), np.uint8)


def test_a_table_and_a_file(tmp_path):
    flags = ["--workers", "0", "1", "--resolutions", "32", "--batch_size", "2", "--photos", "4", "--faces", "2"]
    done = PROGRAMS.run([loader.__file__, *flags, "--seconds", "0.01", "--out", "out.json"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    names = [loader.JPEGS, loader.PNGS, loader.RENDERED]
    assert [(row["images"], row["workers"]) for row in rows] == [(name, n) for name in names for n in (0, 1)]
    assert all(row["images/s"] > 0 for row in rows)
    assert sum(line.startswith(("| zip", "| procedural")) for line in done.stdout.splitlines()) == 3


def test_a_rate_is_that_of_the_images():
    one = loader.rate(Slow(), 2, 0, 0.2)
    assert 5 < one <= 100
    assert loader.rate(Slow(), 2, 4, 0.2) > 1.3 * one


def test_jpegs_are_as_large_as_photos(tmp_path):
    loader.write_jpegs(tmp_path / "photos.zip", 256, 3)
    assert 3 * 15_000 < (tmp_path / "photos.zip").stat().st_size < 3 * 80_000
    assert ImageFolder(tmp_path / "photos.zip", 256)[2].shape == (256, 256, 3)


def test_the_workers_that_keep_up():
    rates = {(256, 1): 100.0, (256, 2): 200.0, (64, 1): 100.0, (64, 2): 200.0}
    rows = [{"images": "a", "resolution": r, "workers": n, "images/s": rate} for (r, n), rate in rates.items()]
    assert loader.table(rows, [1, 2]).splitlines()[2:] == [
        "| a, 256 px | 100 | 200 | 160 | 2 |",
        "| a, 64 px | 100 | 200 | 500 | none of these |",
    ]
