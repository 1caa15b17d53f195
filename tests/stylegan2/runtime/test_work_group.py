"""Processes that share some work: each item falls to one, the first waits for the others and knows who was lost."""

import threading

import pytest
from torch import distributed

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.work_group import WorkGroup, join_group, lost_message, ordered_map
from tests.groups import in_group

pytestmark = pytest.mark.skipif(not distributed.is_available(), reason="this PyTorch is built without processes")


def test_every_item_falls_to_one_process():
    dealt = in_group(4, lambda group: list(group.deal("items", 103, at_once=5)))
    assert sorted(number for numbers in dealt for number in numbers) == list(range(103))
    assert all(numbers == sorted(numbers) for numbers in dealt)


def test_a_process_alone_gets_all_and_waits_for_nobody(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")  # torchrun --nproc_per_node=1
    group = join_group()
    assert group.is_alone
    assert group.is_first
    assert list(group.deal("items", 3)) == [0, 1, 2]
    assert group.share("x", b"1") == b"1"
    group.check_folder(tmp_path)
    assert group.finish() == []


def test_the_first_one_s_findings_are_everybody_s():
    def work(group):
        return group.share("a", b"found" if group.is_first else None), group.finish()

    assert in_group(3, work) == [(b"found", [])] * 3


def test_the_first_one_gathers_texts():
    found = in_group(3, lambda group: group.gather("text", f"of {group.rank}"))
    assert found == [["of 0", "of 1", "of 2"], [], []]
    assert WorkGroup().gather("text", "x") == ["x"]


def test_another_folder_is_refused(tmp_path):
    def work(group):
        group.check_same("photos", "x" if group.rank < 2 else "y", "found other photos")

    in_group(2, work)
    with pytest.raises(UserError, match="process 2 on .* found other photos"):
        in_group(3, work)
    in_group(3, lambda group: group.check_folder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_shared_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("stylegan2.runtime.work_group.VISIBLE_SECONDS", 0.2)
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
    with pytest.raises(UserError, match="does not see what process 0 writes"):
        in_group(2, lambda group: group.check_folder(tmp_path / str(group.rank)), timeout=1.0)


def test_the_first_one_knows_who_was_lost():
    """A process that ends without a word, and one that lives on but is slow."""
    store = distributed.HashStore()
    slow = WorkGroup(1, 3, store, timeout=0.5)
    threading.Timer(1.5, slow.finish).start()
    assert WorkGroup(0, 3, store, timeout=0.5).finish() == [2]


def test_the_others_end_where_the_first_one_is_lost():
    with pytest.raises(UserError, match="process 0 has not answered"):
        WorkGroup(1, 2, distributed.HashStore(), timeout=0.3).share("todo")


def test_a_store_that_is_gone_is_a_sentence():
    class Gone:
        def set(self, *_):
            pass

        def add(self, *_):
            raise RuntimeError("Broken pipe")

    with pytest.raises(UserError, match="machine of process 0 no longer answers"):
        list(WorkGroup(1, 2, Gone()).deal("items", 3))


def test_the_sentence_about_losses():
    one = lost_message([2], 1234, "photos")
    assert one.startswith("process 2 was lost, and 1,234 photos are missing: run the same")
    assert lost_message([1, 3], 2, "photos").startswith("processes 1, 3 were lost")


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_ordered_map_keeps_the_order(workers):
    assert list(ordered_map(lambda x: x * x, range(20), workers)) == [x * x for x in range(20)]


def test_ordered_map_does_not_run_far_ahead():
    started, lock = [], threading.Lock()

    def work(x):
        with lock:
            started.append(x)
        return x

    results = ordered_map(work, range(100), 2)
    assert not started
    next(results)
    assert len(started) <= 6
    results.close()
    assert len(started) <= 6


def test_ordered_map_raises_what_the_function_raises():
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda x: 1 // x, [1, 0], 2))
