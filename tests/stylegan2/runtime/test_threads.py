"""Results come in order, and threads do not run far ahead."""

import threading

import pytest

from stylegan2.runtime.threads import ordered_map


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
