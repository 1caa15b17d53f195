"""A bar in a terminal; elsewhere one plain line a minute, with the speed and the time left."""

import io
import sys

import pytest

from stylegan2.runtime import progress
from stylegan2.runtime.progress import Progress, duration, listening, track, write_line


@pytest.fixture
def clock(monkeypatch):
    """A time that passes when a test says so."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_log_gets_one_plain_line_a_minute(clock, capsys):
    with Progress(1000, "training", "step", images_per_unit=8) as bar:
        for _ in range(300):
            clock.now += 0.5
            bar.show(loss="0.5")
            bar.update()
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    assert err.splitlines() == [
        "training: 120 of 1,000 steps, 16 img/s, 7 minutes left, loss 0.5",
        "training: 240 of 1,000 steps, 16 img/s, 6 minutes left, loss 0.5",
    ]


def test_the_expected_time_is_said_once_as_soon_as_the_speed_is_known(clock, capsys):
    with Progress(300_000, "training", "step", initial=100, images_per_unit=8, expects=True) as bar:
        for _ in range(15):
            clock.now += 2
            bar.update()
    out, err = capsys.readouterr()
    assert out == "training: 299,895 steps to go, about 6 days 22 hours at 4 img/s\n"
    assert err == ""


def test_short_work_says_nothing_in_a_log(clock, capsys):
    assert list(track([1, 2, 3], "drawing", "photo")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_only_the_first_process_speaks(clock, capsys):
    with Progress(9, "training", "step", hidden=True, expects=True) as bar:
        for _ in range(9):
            clock.now += 100
            bar.update()
    assert capsys.readouterr() == ("", "")


def test_unknown_totals_have_no_time_left(clock, capsys):
    with Progress(None, "reading", "photo", expects=True) as bar:
        clock.now += 61
        bar.update(122)
    assert capsys.readouterr().err == "reading: 122 photos, 2 photo/s\n"


def test_a_terminal_gets_a_bar_that_ends_with_the_work(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(track(iter("abc"), "drawing", "photo", total=4, initial=1)) == ["a", "b", "c"]
    assert "drawing: 100%" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()


def test_lines_are_printed(capsys):
    write_line("step 3: loss 1")
    assert capsys.readouterr().out == "step 3: loss 1\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (99, "1 minute 39 seconds"),
        (130, "2 minutes"),
        (3_600, "1 hour"),
        (4_810, "1 hour 20 minutes"),
        (155_000, "1 day 19 hours"),
        (39_000, "10 hours"),
        (20 * 86_400 + 7_000, "20 days"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_a_listener_hears_what_bars_would_show():
    heard = []
    with listening(lambda *progress: heard.append(progress)):
        assert list(track("ab", "reading", "letter")) == ["a", "b"]
        with Progress(3, "hidden", "step", hidden=True) as bar:
            bar.update(3)
    assert heard == [("reading", 1, 2), ("reading", 2, 2)]
    list(track("ab", "reading", "letter"))
    assert len(heard) == 2
