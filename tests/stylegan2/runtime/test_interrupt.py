"""Signals are delivered for real: within this process, and to a training loop in a process of its own."""

import inspect
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stylegan2.runtime.interrupt import Interrupt

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture(autouse=True)
def _handlers_return():
    """Whatever a test does, the next one finds Python's own handlers."""
    before = {signum: signal.signal(signum, signal.default_int_handler) for signum in (signal.SIGINT, signal.SIGTERM)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_signal_is_remembered(signum, code, capfd):
    with Interrupt() as interrupt:
        assert (interrupt.requested, interrupt.exit_code) == (False, 0)
        os.kill(os.getpid(), signum)
        assert (interrupt.requested, interrupt.exit_code, interrupt.signum) == (True, code, signum)
        os.kill(os.getpid(), signal.SIGTERM)  # a second SIGTERM changes nothing
        assert interrupt.exit_code == code
    assert capfd.readouterr().err.count("stopping after this step") == 1


def interrupt_twice(first: int) -> None:
    with Interrupt():
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_signal_stops_at_once(first):
    with pytest.raises(KeyboardInterrupt):
        interrupt_twice(first)
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_the_earlier_handlers_return():
    def mine(*_):
        pass

    signal.signal(signal.SIGTERM, mine)
    with Interrupt():
        assert signal.getsignal(signal.SIGTERM) is not mine
    assert signal.getsignal(signal.SIGTERM) is mine
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_outside_the_main_thread_it_does_nothing():
    seen = []

    def work():
        with Interrupt() as interrupt:
            seen.append((interrupt.requested, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, signal.default_int_handler)]


LOOP = """
import sys, time
from interrupt import Interrupt  # by itself: the package would load PyTorch first
with Interrupt() as interrupt:
    for step in range(10_000):
        print("begin", step, flush=True)
        time.sleep(0.05)
        print("end", step, flush=True)
        if interrupt.requested:
            print("saved", step, flush=True)
            sys.exit(interrupt.exit_code)
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_loop_finishes_its_step_saves_and_exits(signum, code):
    command, room = [sys.executable, "-c", LOOP], Path(inspect.getfile(Interrupt)).parent
    environment = {**os.environ, "PYTHONPATH": str(room)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begin 0\n"
        process.send_signal(signum)
        assert process.stdout.read().split("\n")[:2] == ["end 0", "saved 0"]
    assert process.returncode == code
