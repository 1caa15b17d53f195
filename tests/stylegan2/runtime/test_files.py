"""What the disk refuses is one sentence."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stylegan2.runtime.errors import ImageError, UserError
from stylegan2.runtime.files import cache_folder, hold_folder, make_folder, write_text, writing


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (OSError("encoder error -2"), "encoder error -2"),
        (PermissionError(), "PermissionError"),
    ],
)
def test_every_refusal_has_a_reason(error, reason):
    with pytest.raises(ImageError) as caught, writing("a/b.png", ImageError):
        raise error
    assert str(caught.value) == f"cannot write 'a/b.png': {reason}"


def test_other_mistakes_pass_through():
    with pytest.raises(ZeroDivisionError), writing("a"):
        raise ZeroDivisionError


def test_folders_and_texts(tmp_path):
    folder = make_folder(make_folder(tmp_path / "a" / "b"))
    write_text(folder / "c.txt", "häuser\n")
    assert (folder / "c.txt").read_bytes() == "häuser\n".encode()
    for write in (make_folder, lambda path: write_text(path / "d.txt", "")):
        with pytest.raises(UserError, match="cannot write '.*c.txt"):
            write(folder / "c.txt")


def test_caches_lie_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "psp"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "psp"


HOLD = """import sys, time
from stylegan2.runtime.files import hold_folder
hold_folder(sys.argv[1])
print("held", flush=True)
"""


def test_a_folder_belongs_to_one_process_until_it_dies(tmp_path):
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", f"{HOLD}time.sleep(60)", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process is writing to '.*': wait for it, or use another exp_dir"):
            hold_folder(tmp_path)
        holder.kill()
        holder.wait()
        (tmp_path / ".partial-0123").write_bytes(b"half of a picture")
        (tmp_path / "whole.png").write_bytes(b"a picture")
        hold_folder(tmp_path)
        hold_folder(tmp_path)  # this process has it already
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "whole.png"]
    refused = subprocess.run([sys.executable, "-c", HOLD, str(tmp_path)], capture_output=True, text=True, cwd=root)
    assert "another process is writing to" in refused.stderr
