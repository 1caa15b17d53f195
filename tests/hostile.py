"""Contents of hostile files, and checks of how a reader reacts to them."""

import contextlib
import io
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import tempfile
import traceback
from pathlib import Path

import torch

from stylegan2.runtime.errors import UserError
from tests.forks import CALLS

NAMES = [
    *(
        "/etc/passwd",
        "../../x",
        "..",
        ".",
        "",
        "/",
        "//",
        "a/../../../b",
        "..\\..\\x",
        "C:\\x",
        "C:x",
        "\\\\host\\share",
    ),
    *(
        "a\0b",
        "a\nb",
        "\x1b[2J",
        "\u202egnp.exe",
        "caf\udce9",
        "~",
        "~/x",
        "-rf",
        ".hidden",
        ".partial-1",
        " ",
        " a ",
        "a.",
    ),
    *("con", "NUL.txt", "com1", "lpt¹", "aux .x", "a" * 5000, "é" * 300, "/".join("abc" * 99), "x/" * 3000 + "y"),
    *(
        "a:b",
        'q"?*<>|',
        "$(id)",
        "`id`",
        "%2e%2e/x",
        "\ufeffx",
        "x\u00a0y",
        "\u2028",
        "👩‍👩‍👧",
        "日本語",
        "e\u0301",
        "é",
        "ﬁ",
        "fi",
        "A",
        "a",
    ),
]


MEMORY, SECONDS = 2 * 10**9, 10  # above an idle process; of the processor
FORKS, PATIENCE = 3, 60
"""A fork of this process may find a lock taken by a thread that it does not have, and then waits for ever without using
the processor, whatever the reader does: then another one is asked."""


def answer(call, *arguments):
    """Call a reader in a process of its own, within 2 GB and 10 s of processor time.

    Returns:
        "" where it returned, or the one sentence of its UserError.

    Raises:
        AssertionError: It crashed, took more, or raised anything else.
    """
    for _ in range(FORKS):
        said, code = _asked(call, *arguments)
        if code != -signal.SIGKILL:
            break
    assert code == 0, f"it ended with {code}: {said}"
    kind, _, sentence = said.partition("\n")
    assert kind in ("returned", "refused"), said
    assert "\n" not in sentence, sentence
    assert len(sentence) < 5000
    assert kind == "returned" or sentence
    return sentence


def _asked(call, *arguments):
    """Return what a process of its own says, and its exit code: that of SIGKILL where it was silent for too long.

    It is a fork of a server without threads, where `call` can be sent there, and else one of this process.
    """
    try:
        child = CALLS.start(_say, call, *arguments, err=subprocess.STDOUT)
    except (pickle.PicklingError, AttributeError, TypeError):
        return _asked_here(call, *arguments)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(PATIENCE)
    child.kill()
    return child.communicate()[0], child.returncode


def _asked_here(call, *arguments):
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        child = multiprocessing.get_context("fork").Process(target=_say_in, args=(said, call, *arguments))
        child.start()
        child.join(PATIENCE)
        if child.exitcode is None:
            child.kill()
            child.join()
        said.seek(0)
        return said.read(), child.exitcode


def _say_in(file, call, *arguments):
    with contextlib.redirect_stdout(file):
        _say(call, *arguments)


def _say(call, *arguments):
    print(_answer(call, *arguments)[:60_000].encode("utf-8", "backslashreplace").decode(), end="", flush=True)


def _answer(call, *arguments):
    try:
        torch.set_num_threads(1)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + SECONDS, int(used) + SECONDS + 1))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            call(*arguments)
    except UserError as error:
        return f"refused\n{error}"
    except BaseException:
        return traceback.format_exc()
    return "returned\n"
