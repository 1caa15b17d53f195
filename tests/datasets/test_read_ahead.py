"""Processes that read ahead: their memory, and how they end."""

import os
import re
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.loader import stream_batches
from datasets.read_ahead import BATCHES_AHEAD, read_ahead
from datasets.worker import open_packed, pack, places
from stylegan2.runtime.errors import ImageError, UserError
from tests.datasets.sample_sets import Dying, Failing, Holdings, Numbers, Sizes, Warns

ROOT = Path(__file__).resolve().parents[2]


def stream(dataset, workers=2, batch_size=2, length=50):
    return stream_batches(dataset, length, batch_size, seed=0, workers=workers)(0)


def test_processes_hold_no_torch_and_share_arrays():
    """The test runs in a program of its own, because other tests import torch in the fork server."""
    program = "from tests.datasets.test_read_ahead import check_processes; check_processes()"
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True, timeout=200)


def check_processes():
    rows = torch.cat(list(islice(stream(Numbers()), 6)))
    pids, torch_there, sums, writeable = rows.T.tolist()
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    assert not any(torch_there)
    assert set(sums) == {2_000_000}
    assert not any(writeable)


TASK_NAMES = ("inversion", "frontalization", "inpainting", "segmentation", "sketch", "super_resolution", "toonify")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says how much memory a process holds")
def test_processes_that_make_pairs_hold_no_torch_and_little_memory(tmp_path):
    """This includes every task and the segmenter, with augmentation; the limit is 300 MB per process."""
    program = "from tests.datasets.test_read_ahead import check_pairs; check_pairs()"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, timeout=200)


def check_pairs():
    from datasets.sources import open_split
    from datasets.tasks import build_task
    from datasets.training_data import TaskPairs

    for name in TASK_NAMES:
        task = build_task(name)
        examples, _ = open_split(task, "synthetic", 64)
        for augment, limit in ((False, 100_000), (True, 150_000)):  # measured: 72 and 113 MB
            batches = stream(Holdings(TaskPairs(examples, task, 64, 64, 0, augment)), workers=1)
            for resident, torch_there in torch.cat(list(islice(batches, 3))).tolist():
                assert not torch_there, name
                assert resident < limit, (name, augment)
            batches.close()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux says how much memory is whose")
def test_a_process_takes_little_memory():
    batches = stream(Numbers())
    pids = {int(pid) for batch in islice(batches, 4) for pid in batch[:, 0]}
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        own = sum(int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1]) for name in ("Private_Dirty", "Swap"))
        assert own < 60_000  # kB
    batches.close()


def test_large_samples_of_several_types_arrive_whole():
    for workers in (0, 3):
        images, classes, pairs, nothing = next(islice(stream(Sizes(), workers, 4), 3, 4))
        assert (images.dtype, images.shape) == (torch.float32, (4, 3, 700, 700))
        assert (classes.dtype, classes.tolist()) == (torch.int64, [12, 13, 14, 15])
        assert torch.equal(images, classes.float().view(4, 1, 1, 1).expand_as(images))
        assert torch.equal(pairs, torch.stack([classes, classes], 1))
        assert nothing.shape == (4, 0)


@pytest.mark.parametrize("count", [0, 1, 4, 11])
def test_work_may_end(count):
    """The keys of a preparation end, and are generated on demand."""
    asked = []
    keys = ([(number, number)] for number in range(count) if asked.append(number) is None)
    batches = read_ahead(Sizes(), keys, 2)
    classes = []
    for _, own, _, _ in batches:
        classes += own.tolist()
        assert len(asked) <= len(classes) + 2 * BATCHES_AHEAD
    assert classes == list(range(count))


@pytest.mark.parametrize("error", [UserError("wrong file"), ImageError("bad"), KeyError("k"), OSError(28, "full")])
def test_an_error_is_the_same_as_without_processes(error):
    for workers in (0, 2):
        batches = stream(Failing(error, 7), workers)
        assert len(list(islice(batches, 3))) == 3
        with pytest.raises(type(error)) as caught:
            next(batches)
        assert str(caught.value) == str(error)


def test_a_programmers_mistake_names_its_place():
    with pytest.raises(KeyError) as caught:
        next(stream(Failing(KeyError("k"), 0)))
    assert "in __getitem__" in str(caught.value.__cause__)


def test_warnings_come_from_the_process_that_trains():
    with pytest.warns(UserWarning, match="sample .* is odd") as said:
        list(islice(stream(Warns(), workers=1, length=3), 3))
    assert {str(warning.message) for warning in said} == {f"sample {n} is odd" for n in range(3)}


def test_a_process_that_is_killed_is_one_sentence():
    with pytest.raises(UserError, match=r"a process that reads ahead was terminated by SIGKILL: .* use fewer workers"):
        list(islice(stream(Dying()), 20))


def test_closing_ends_the_processes_soon():
    batches = stream(Numbers(), workers=3)
    pids = {int(pid) for batch in islice(batches, 6) for pid in batch[:, 0]}
    start = time.monotonic()
    batches.close()
    assert time.monotonic() - start < 3
    assert not [pid for pid in pids if alive(pid)]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


TRAINS = """
import sys, time
from itertools import islice
import numpy as np
from datasets.loader import stream_batches
from datasets.read_ahead import BATCHES_AHEAD, read_ahead
from datasets.training_data import MirroredImages
import multiprocessing

stream = stream_batches(MirroredImages(np.zeros((9, 8, 8, 3), np.uint8), False, 0), 9, 2, seed=0, workers=2)(0)
next(stream)
print(*(process.pid for process in multiprocessing.active_children()), flush=True)
for batch in stream:
    time.sleep(0.01)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux shows which processes are there")
def test_processes_end_with_a_trainer_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", TRAINS], cwd=ROOT, stdout=subprocess.PIPE, text=True) as trainer:
        pids = [int(pid) for pid in trainer.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(alive, pids))
        for pid in pids:  # a scheduler signals every process of a job
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        time.sleep(0.5)
        assert all(map(alive, pids))
        trainer.kill()
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


DEFINES_ITS_OWN = """
import numpy as np, sys
sys.path.insert(0, {root!r})
from datasets.loader import stream_batches
from datasets.read_ahead import BATCHES_AHEAD, read_ahead

class Squares:
    def __getitem__(self, key):
        return np.array(key[1] ** 2)

if __name__ == "__main__":
    stream = stream_batches(Squares(), 5, 3, seed=0, workers=2)(0)
    print(next(stream).tolist(), next(stream).tolist())
"""


def test_a_script_may_define_the_dataset_itself(tmp_path):
    (tmp_path / "script.py").write_text(DEFINES_ITS_OWN.format(root=str(ROOT)))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "[0, 1, 4] [9, 16, 25]\n", done.stderr


def test_a_dataset_is_packed_without_its_arrays():
    dataset = {
        "a": np.arange(1000),
        "b": [np.ones((3, 5), np.float32), "text"],
        "fortran": np.asfortranarray(np.eye(4)),
    }
    rest, sizes, views = pack(dataset)
    assert len(rest) < 1000
    starts, end = places(sizes)
    shared = bytearray(end)
    for start, view in zip(starts, views, strict=True):
        shared[start : start + view.nbytes] = view
    opened = open_packed(rest, sizes, shared)
    assert np.array_equal(opened["a"], dataset["a"])
    assert np.array_equal(opened["b"][0], dataset["b"][0])
    assert np.array_equal(opened["fortran"], dataset["fortran"])
    assert opened["b"][1] == "text"
