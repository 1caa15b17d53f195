import errno
import multiprocessing
import os
import pickle
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets.disk_cache import DiskCache, cache_folder
from stylegan2.runtime.errors import UserError

SHAPE = (4, 5, 3)


class Slow:
    """Ten pictures that count how often each is computed; computing number `killer` ends the process."""

    def __init__(self, killer=None):
        self.made, self.killer = [], killer

    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index == self.killer:
            os.kill(os.getpid(), signal.SIGKILL)
        self.made.append(index)
        return np.random.default_rng(index).integers(0, 256, SHAPE, np.uint8)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def in_another_process(function, *args):
    process = multiprocessing.get_context("fork").Process(target=function, args=args)
    process.start()
    return process


def test_each_is_made_once_and_read_back():
    images = Slow()
    cache = DiskCache(images, SHAPE, "key")
    for index in (3, 0, 3, 9, 0, 3):
        assert np.array_equal(cache[index], Slow()[index])
    assert images.made == [3, 0, 9]

    again = Slow()
    cache = DiskCache(again, SHAPE, "key")
    assert len(cache) == 10
    assert np.array_equal(cache[9], Slow()[9])
    assert np.array_equal(cache[1], Slow()[1])
    assert again.made == [1]


def test_two_files_in_the_cache_folder(tmp_path):
    DiskCache(Slow(), SHAPE, "key")[4]
    pixels, flags = sorted(cache_folder().iterdir(), reverse=True)
    assert cache_folder() == tmp_path / "psp"
    assert (pixels.stat().st_size, flags.stat().st_size) == (10 * 60, 10)


class Full:
    """A file on a full disk."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def seek(self, start):
        self.file.seek(start)

    def write(self, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_sentence_and_nothing_wrong_is_read_later(tmp_path, monkeypatch):
    cache, plain_open = DiskCache(Slow(), SHAPE, "key"), Path.open
    cache[0]

    def full(path, mode="r", **settings):
        file = plain_open(path, mode, **settings)
        return Full(file) if mode == "r+b" else file

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=r"the disk is full; set XDG_CACHE_HOME to a folder on another disk$") as caught:
        cache[1]
    assert str(tmp_path / "psp") in str(caught.value)
    assert np.array_equal(cache[0], Slow()[0])  # what is there can be read
    monkeypatch.setattr(Path, "open", plain_open)
    assert np.array_equal(cache[1], Slow()[1])  # once there is room


@pytest.mark.skipif(sys.platform == "win32", reason="blocks are counted by POSIX systems")
def test_it_takes_the_disk_as_images_come():
    class Large(Slow):
        def __getitem__(self, index):
            return np.full((512, 512, 3), index, np.uint8)

    cache = DiskCache(Large(), (512, 512, 3), "key")
    assert (cache[9] == 9).all()
    assert cache.pixels.stat().st_size == 10 * 512 * 512 * 3
    assert cache.pixels.stat().st_blocks * 512 < 3 * 512 * 512 * 3


def test_negative_numbers_count_from_the_end_and_others_end_a_loop():
    cache = DiskCache(Slow(), SHAPE, "key")
    assert np.array_equal(cache[-1], Slow()[9])
    with pytest.raises(IndexError):
        cache[10]


def test_what_is_read_may_be_changed():
    cache = DiskCache(Slow(), SHAPE, "key")
    cache[2][:] = 0
    assert np.array_equal(cache[2], Slow()[2])


def test_another_key_is_another_file():
    first, second = Slow(), Slow()
    DiskCache(first, SHAPE, "resolution 64 seed 0")[5]
    DiskCache(second, SHAPE, "resolution 64 seed 1")[5]
    assert first.made == second.made == [5]
    assert len(list(cache_folder().glob("*.u8"))) == 2


def read_all(cache, order):
    for index in order:
        assert np.array_equal(cache[index], Slow()[index])


def test_processes_share_it():
    cache = DiskCache(Slow(), SHAPE, "key")
    orders = [np.random.default_rng(n).permutation(10).tolist() for n in range(4)]
    processes = [in_another_process(read_all, cache, order) for order in orders]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    images = Slow()
    read_all(DiskCache(images, SHAPE, "key"), range(10))
    assert images.made == []


def test_a_killed_process_leaves_nothing_half_made():
    process = in_another_process(read_all, DiskCache(Slow(killer=3), SHAPE, "key"), range(10))
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    images = Slow()
    read_all(DiskCache(images, SHAPE, "key"), range(10))
    assert images.made == list(range(3, 10))


def test_pixels_without_their_flag_are_made_again():
    cache = DiskCache(Slow(), SHAPE, "key")
    cache[0]
    with cache.pixels.open("r+b") as file:  # as far as a killed process may have come
        file.seek(6 * 60)
        file.write(bytes([77] * 30))
    read_all(DiskCache(Slow(), SHAPE, "key"), range(10))


def test_it_can_be_sent_to_worker_processes():
    cache = DiskCache(Slow(), SHAPE, "key")
    cache[1]
    sent = pickle.loads(pickle.dumps(cache))
    assert np.array_equal(sent[1], Slow()[1])
    assert sent.images.made == [1]  # made before it was sent, and not again


def test_without_the_variable_it_is_below_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "psp"


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "psp").write_text("a file in its place")
    with pytest.raises(UserError, match=r"cannot use the cache in .*psp.*; set XDG_CACHE_HOME to a folder"):
        DiskCache(Slow(), SHAPE, "key")[0]
