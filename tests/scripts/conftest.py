"""A script as a user runs it, but in this process."""

import runpy
import sys
from pathlib import Path

import pytest

from stylegan2.runtime import device

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def own_process(monkeypatch, tmp_path):
    """In another folder; and what a script does to its process stays in this test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(device, "tune_process", lambda *_: None)


@pytest.fixture
def script(own_process, monkeypatch, capsys):
    """Runs a script: (exit code, stdout, stderr)."""

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPTS / name), *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return call
