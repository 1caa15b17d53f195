"""The origin of a result: the command line, the versions of packages and the revision of the code."""

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import psp

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "scipy")
CHECKOUT = Path(__file__).resolve().parents[1]
GIT_SECONDS = 10


def provenance() -> dict[str, str | dict[str, str]]:
    """Return the information that is needed to reproduce a result.

    Returns:
        A dictionary with "command_line", "started" (UTC), "revision" and "versions".
    """
    return {
        "command_line": command_line(sys.argv),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "revision": git_revision(),
        "versions": versions(),
    }


def command_line(argv: Sequence[str]) -> str:
    """Return a command as a line for a shell."""
    program = ["python", argv[0]] if argv[0].endswith(".py") else Path(argv[0]).name.split()
    return shlex.join([*program, *argv[1:]])


def versions() -> dict[str, str]:
    """Return {package: version} of the installed packages on which numerical results depend."""
    installed = {"psp": psp.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def git_revision() -> str:
    """Return the commit of this code, with `-dirty` if files differ from it, or `unknown` outside of a checkout."""
    if not (CHECKOUT / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
