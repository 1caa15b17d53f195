"""A process that falls silent is found, and one that is merely busy is not."""

import pytest

from stylegan2.runtime.heartbeat import Heartbeat


@pytest.fixture
def processes():
    """Three heartbeats on one store, and a clock to turn."""
    store, now = {}, [0.0]

    class Shared:
        def set(self, key, value):
            store[key] = value.encode()

        def get(self, key):
            return store[key]

    return now, [Heartbeat(Shared(), rank, 3, timeout=60, clock=lambda: now[0]) for rank in range(3)]


def turn(now, beating, asking):
    """Let a minute and a half go by, in steps of five seconds: what is found out, and when."""
    for _ in range(18):
        now[0] += 5
        for heartbeat in beating:
            heartbeat.beat()
        if (silent := asking.silent()) is not None:
            return silent, now[0]
    return None


def test_who_beats_is_not_silent(processes):
    now, all_of_them = processes
    assert turn(now, all_of_them, all_of_them[0]) is None


def test_the_one_that_stops_is_named_after_the_time(processes):
    now, (first, second, third) = processes
    assert turn(now, [first, second], first) == (2, 70.0)  # its last beat was seen at 5 seconds
    assert third.beats == 1


def test_after_a_pause_of_its_own_a_process_accuses_no_other(processes):
    now, all_of_them = processes
    assert turn(now, all_of_them, all_of_them[0]) is None
    now[0] += 3600  # all were stopped together, and go on
    assert all_of_them[0].silent() is None
    assert turn(now, all_of_them, all_of_them[0]) is None
