"""Fixtures and settings of all tests: one thread, a fixed seed, and photographs on machines that have them."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

# Tests run side by side, one for each core: two threads in each of them, and in what they start, would wait for others.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from stylegan2.runtime import weights
from stylegan2.runtime.images import write_image
from tests.forks import PROGRAMS

REPOSITORY = Path(__file__).resolve().parents[1]
SEED = 20
SHELL_SECONDS = 900
REDUCED_PSP = """
import runpy, sys
import datasets.synthetic
datasets.synthetic.SYNTHETIC_LENGTH = 500
import datasets.sources
datasets.sources.HELD_OUT_MAX = 8
del sys.argv[0]
runpy.run_module("psp", run_name="__main__", alter_sys=True)
"""

# A busy machine is no fault of the code: what an example takes is not judged.
settings.register_profile("psp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("psp")


LONGEST_FIRST = (
    "test_level_memory.py",
    "test_chaos.py",
    "test_simulated_gpu.py",
    "test_readme.py",
    "test_shared_work.py",
    "test_kernels.py",
    "test_fuzz.py",
    "test_distributed.py",
    "test_your_own_images.py",
    "test_hostile_files.py",
    "test_two_hosts.py",
    "test_cpu.py",
    "test_channels.py",
    "test_bad_values.py",
    "test_one_file.py",
    "test_train_scripts.py",
    "test_bounded.py",
    "test_commands.py",
)
"""Files that take longest: they begin first and in this order, so that no process is left with one at the end."""


def pytest_collection_modifyitems(items):
    order = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session", autouse=True)
def _temporary_files(tmp_path_factory):
    """Use a folder for temporary files that is deleted with the files of killed processes."""
    tmp_path_factory.getbasetemp()  # is elsewhere: it keeps what failed tests wrote
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", tempfile.mkdtemp(prefix="psp-"))
        patch.setenv("TMPDIR", tempfile.tempdir)
        yield
        shutil.rmtree(tempfile.tempdir, ignore_errors=True)


@pytest.fixture(scope="module")
def module_path(tmp_path_factory, request):
    """Provide a folder for large files that the tests of a module share, and delete it after them."""
    folder = tmp_path_factory.mktemp(request.node.path.stem)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    """Give each test the same random numbers and settings of arithmetic, regardless of earlier tests."""
    torch.set_flush_denormal(False)  # tune_process turns it on for the whole process, which hypothesis refuses
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def empty_machine(tmp_path, monkeypatch):
    """Hide cached downloads and the user's folder, and forbid network access."""

    def refuse(*args):
        raise AssertionError("a network connection was opened")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv(weights.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of photos/, portraits256/ and faces128/: PSP_TEST_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("PSP_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"test photographs are not at {folder}; set PSP_TEST_DATA to their folder")
    return folder


@pytest.fixture
def golden(request):
    """Compare {name: numbers} with tests/golden/TEST.json, or write that file when PSP_WRITE_GOLDEN is set."""
    path = REPOSITORY / "tests" / "golden" / f"{request.node.name.removeprefix('test_')}.json"

    def compare(values: dict[str, list[float]], rtol: float) -> None:
        if os.environ.get("PSP_WRITE_GOLDEN"):
            path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
            pytest.skip(f"wrote {path.name}")
        stored = json.loads(path.read_text(encoding="utf-8"))
        assert values.keys() == stored.keys()
        for name, numbers in values.items():
            np.testing.assert_allclose(numbers, stored[name], rtol=rtol, atol=1e-6, err_msg=name)

    return compare


@pytest.fixture
def own_images(tmp_path):
    """(folder, labels file): 60 pictures, bright or dark, in two subfolders."""
    rng, rows = np.random.default_rng(0), ["file,bright,never"]
    for i in range(60):
        name = f"{'ab'[i % 2]}/{i:02d}.png"
        base = 150 if i % 3 == 0 else 40
        write_image(tmp_path / "images" / name, rng.integers(base, base + 60, (32, 32, 3)).astype(np.uint8))
        rows.append(f"{name},{int(i % 3 == 0)},0")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path / "images", labels


@pytest.fixture
def shell(tmp_path):
    """Runs words in the reader's folder, with the environment activated: the completed process.

    `psp` and `python` are forked from a server that has imported PyTorch, where they are the first word. A training by
    `psp` then holds out 8 pictures at most, since most of a training of two steps would be its validation, and draws
    from 500 procedural faces, since the cache of all takes a gigabyte where a file system has no sparse files.
    """
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, words in (("python", ""), ("psp", " -m psp")):
        (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n')
        (commands / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY),
                   "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}  # fmt: skip
    folder = tmp_path / "checkout"
    folder.mkdir()

    def run(words):
        words = ["python", "-c", REDUCED_PSP, *words] if words[0] == "psp" else words
        if words[0] == "python":
            return PROGRAMS.run(words[1:], cwd=folder, env=environment, timeout=SHELL_SECONDS)
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=SHELL_SECONDS)

    run.folder = folder
    return run
