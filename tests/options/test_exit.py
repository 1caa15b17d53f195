"""How a command ends on a full disk, without memory, on a closed pipe or after Ctrl-C."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from options.parse import exit_on_user_error

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "this GPU has too little memory: use"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/b.png"), "'a/b.png': No space left on device"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files"),
    ],
)
def test_what_the_machine_refuses_is_one_sentence(error, sentence, capsys):
    with pytest.raises(SystemExit) as stop, exit_on_user_error():
        raise error
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {sentence}")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("error", [OSError("a bug"), RuntimeError("a bug"), ValueError("a bug")])
def test_a_bug_stays_one(error):
    with pytest.raises(type(error), match="a bug"), exit_on_user_error():
        raise error


@pytest.mark.parametrize("words", [["--help"], ["inspect", "MODEL"]])
def test_a_closed_pipe_ends_a_command_without_a_word(words, tmp_path):
    model = Path(__file__).parents[2] / "stylegan2" / "pretrained" / "synthfaces64.safetensors"
    words = [str(model) if word == "MODEL" else word for word in words]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "convert.py"), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    process.stdout.close()  # as `head` does once it has its lines
    assert process.stderr.read() == b""
    assert process.wait(timeout=120) == 141


@pytest.mark.parametrize("after", [0.5, 2.0])
def test_ctrl_c_while_a_command_starts_is_one_word(after, tmp_path):
    """A command spends most of its first seconds on imports."""
    command = [sys.executable, str(SCRIPTS / "train_psp.py"), "--max_steps", "100000"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, start_new_session=True, text=True
    )
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=120)[1]
    assert "Traceback" not in printed, printed
    assert "interrupted" in printed or "stopping after this step" in printed
    assert process.returncode in (130, -signal.SIGINT)
