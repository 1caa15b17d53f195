"""Processes for tests, forked from a server that has imported PyTorch, because the import takes longer than most tests.

`PROGRAMS` runs scripts and modules as `python` would. Its server has imported installed packages alone, so that each
program imports this project's modules itself. `CALLS` calls functions, and its server has imported them all. A server
starts with its first process, one for each process of pytest, and has no threads. Optimizers import `torch._dynamo` at
their first step, which costs more than the steps of most tests. Linux and macOS.
"""

import atexit
import contextlib
import importlib
import os
import pickle
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
INSTALLED = ("torch", "torchvision", "torch.utils.tensorboard", "scipy.ndimage", "PIL.Image", "yaml", "tyro", "tqdm",
             "pydantic", "filelock", "torch._dynamo")  # fmt: skip
OURS = ("psp", "psp.loading", "psp.trainer", "stylegan2", "stylegan2.convert", "stylegan2.trainer", "datasets.folder",
        "datasets.loader", "datasets.tasks", "hypothesis", "pytest")  # fmt: skip
LENGTH = struct.Struct("q")


class Forked:
    """A process of a server, with the methods of `subprocess.Popen`; its output is kept in files."""

    def __init__(self, pid: int, ended: int, out: Any, err: Any) -> None:
        self.pid, self.returncode = pid, None
        self._ended, self._out, self._err = ended, out, err

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(*LENGTH.unpack(os.read(self._ended, LENGTH.size)))
            os.close(self._ended)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str | None]:
        self.wait(timeout)
        return tuple(None if file is None else _content(file) for file in (self._out, self._err))  # type: ignore

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


def _content(file: Any) -> str:
    file.seek(0)
    return file.read().decode()


class ForkServer:
    """Starts processes as forks of one that has imported these modules."""

    def __init__(self, *modules: str) -> None:
        self.modules = modules
        self._socket: socket.socket | None = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
            command = [sys.executable, __file__, str(theirs.fileno()), *self.modules]
            subprocess.Popen(command, env=environment, cwd=REPOSITORY, pass_fds=[theirs.fileno()])
            theirs.close()
        return self._socket

    def start(
        self, call: Any, *arguments: Any, cwd: Any = None, env: Mapping[str, str] | None = None,
        out: Any = None, err: Any = None, new_session: bool = False,
    ) -> Forked:  # fmt: skip
        """Call a function of a module in a process of its own.

        Args:
            call: The function, which is found by its name.
            arguments: Its arguments, which are pickled.
            cwd: Folder that it is called in; by default that of this process.
            env: Environment; by default that of this process. OMP_NUM_THREADS has been read before.
            out: File of the standard output; by default one that `communicate` returns.
            err: File of the standard error; subprocess.STDOUT is that of the output.
            new_session: Whether a signal to its group reaches it and its own children alone.
        """
        kept = [tempfile.TemporaryFile() if file is None else None for file in (out, err)]  # noqa: SIM115
        files = [out or kept[0], err or kept[1]]
        files = [files[0], files[0] if err == subprocess.STDOUT else files[1]]
        about = pickle.dumps((os.fspath(cwd or os.getcwd()), dict(env or os.environ), new_session, list(sys.path)))
        with tempfile.TemporaryFile() as task:  # which a message may be too short for
            for part in (about, pickle.dumps((call, arguments))):
                task.write(LENGTH.pack(len(part)) + part)
            task.flush()
            reading, writing = os.pipe()
            server = self._connected()
            socket.send_fds(server, [b"fork"], [task.fileno(), writing, *(file.fileno() for file in files)])
            os.close(writing)
        (pid,) = LENGTH.unpack(os.read(reading, LENGTH.size))
        return Forked(pid, reading, *kept)


CALLS = ForkServer(*INSTALLED, *OURS)


class Programs(ForkServer):
    """Runs Python programs."""

    def popen(self, words: Sequence[Any], **options: Any) -> Forked:
        """Start what `python WORDS` starts: a script, `-m` and a module, or `-c` and code; options as for `start`."""
        return self.start(run_program, list(map(str, words)), **options)

    def run(self, words: Sequence[Any], timeout: float = 280, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, as `subprocess.run` does with captured text."""
        program = self.popen(words, **options)
        try:
            out, err = program.communicate(timeout)
        finally:
            program.kill()
        return subprocess.CompletedProcess(words, program.wait(), out, err)


PROGRAMS = Programs(*INSTALLED)


def run_program(words: Sequence[str]) -> None:
    """Run a program in this process, whose path is as if it had just begun."""
    path = [place for place in sys.path if place not in ("", str(REPOSITORY), str(REPOSITORY / "scripts"))]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "forks")]:
        del sys.modules[name]
    own = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    kind, *rest = words
    if kind == "-m":
        sys.argv, sys.path[:] = rest, [os.getcwd(), *own, *path]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path[:] = ["-c", *rest[1:]], ["", *own, *path]
        sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.argv, sys.path[:] = list(words), [str(Path(kind).resolve().parent), *own, *path]
        runpy.run_path(kind, run_name="__main__")


# ------------------------------------------------------------------------------------------------ in the server


def serve(connection: socket.socket) -> None:
    """Fork a process for each message, until the tests have ended. It is forked by a keeper, who says how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are not waited for
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        message, (*files,), _, _ = socket.recv_fds(connection, 16, 4)
        if not message:
            return
        if os.fork() == 0:
            connection.close()
            _keep(*files)
        for file in files:
            os.close(file)


def _keep(task: int, ended: int, out: int, err: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(ended)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _become(task, out, err)
    os.write(ended, LENGTH.pack(pid))
    for file in (task, out, err):
        os.close(file)
    with contextlib.suppress(BrokenPipeError):  # the test has not waited for it
        os.write(ended, LENGTH.pack(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _become(task: int, out: int, err: int) -> None:
    """Do a task in this process, and end it as Python ends."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    code = 1
    try:
        with open(task, "rb") as file:
            file.seek(0)
            about, called = (file.read(*LENGTH.unpack(file.read(LENGTH.size))) for _ in range(2))
        for number in (out, err):
            os.close(number)
        cwd, environment, new_session, sys.path[:] = pickle.loads(about)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        if new_session:
            os.setsid()
        call, arguments = pickle.loads(called)
        call(*arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        _end(code)


def _end(code: int) -> None:
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as Python does
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for module in sys.argv[2:]:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    serve(socket.socket(fileno=int(sys.argv[1])))
