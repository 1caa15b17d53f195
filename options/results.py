"""The places to which commands write. A folder belongs to one run, and nothing is replaced without being asked for.

A command that fills a folder first requests a record (`record_for`), and writes it when its first results are due. A
command that writes single files first calls `check_new`. The config.yaml of a run contains its settings, which --config
can read again, and under `runs` each command line with the versions of packages and the revision of the code.
"""

import dataclasses
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, is_dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import yaml

import psp
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import hold_folder, write_text, writing
from stylegan2.runtime.remote import check_local

FOLDER, FILE = "exp_dir", "out"  # names of the settings for the place of the results
FILE_SUFFIXES = (".safetensors", ".json", ".zip", ".pt")  # with which `out` is a file; otherwise it may be a folder
PACKAGES = ("torch", "torchvision", "numpy", "pillow", "scipy")
CHECKOUT = Path(__file__).resolve().parents[1]
GIT_SECONDS = 10
COMMAND, RUNS = "command", "runs"
NON_SETTINGS = (COMMAND, RUNS)
"""entries of config.yaml that are not settings"""
CALL_SETTINGS = ("config", "overwrite", "dry_run")
"""settings that are not written to config.yaml, because they are not properties of a run"""
MACHINE_SETTINGS = ("device", "tune_malloc", "workers", "exp_dir")
"""settings on which results do not depend"""
LONGEST_CONFIG, MAX_VALUES = 2**20, 10_000  # largest number of bytes and of values in a file of settings
NON_RESULT_SUFFIXES = (".txt", ".log", ".out", ".err", ".yaml", ".yml", ".sh")
"""suffixes of files that may be in a folder before its first run"""


@dataclass(frozen=True, kw_only=True)
class Configured:
    """Settings of a command that can read its settings from a file, for inheritance by the command's dataclass."""

    config: Path | None = None
    """a YAML file of settings, such as the config.yaml of an earlier run; flags take precedence over it"""

    @property
    def folder(self) -> Path:
        """Return `exp_dir`, which is set after `with_folder`.

        Raises:
            ValueError: `exp_dir` is not set yet.
        """
        exp_dir = getattr(self, "exp_dir", None)
        if exp_dir is None:
            raise ValueError("the folder of the results is not known yet: call with_folder first")
        return exp_dir


Settings = TypeVar("Settings", bound=Configured)


@dataclass(frozen=True, kw_only=True)
class Results(Configured):
    """Settings of a command that can replace earlier results, for inheritance by the command's dataclass."""

    overwrite: bool = False
    """replace the results of another run at the same place"""


@dataclass(frozen=True)
class Record:
    """The contents of the config.yaml of a run, which is written after all mistakes of the user have been reported."""

    path: Path
    command: str
    settings: dict[str, Any]
    earlier_runs: Sequence[object] = ()
    """the runs whose results are in the folder and which this run continues"""

    @property
    def text(self) -> str:
        """Return only the settings, as YAML."""
        return yaml.safe_dump(self.settings, sort_keys=False, allow_unicode=True)

    def write(self) -> str:
        """Write the file, lock its folder for this process, and return the text of the file.

        Of several processes, only the first one writes and locks.

        Raises:
            UserError: The file cannot be written, or another process writes to the folder.
        """
        config = {COMMAND: self.command, **self.settings, RUNS: [*self.earlier_runs, provenance()]}
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        if is_first_process():
            hold_folder(self.path.parent)
            write_text(self.path, text)
        return text


def with_folder(o: Settings, default: str) -> Settings:
    """Return the settings with `exp_dir` set to runs/`default` if it is None."""
    if getattr(o, "exp_dir") is not None:  # noqa: B009
        return o
    return dataclasses.replace(o, exp_dir=Path("runs") / default)


def record_for(
    o: Configured,
    command: str,
    *,
    writes: Sequence[str] = ("*",),
    part: str = "",
    fixed: Sequence[str] | None = None,
    free: Sequence[str] = (),
    growing: Sequence[str] = (),
    marks: Sequence[str] = (),
) -> Record:
    """Check that a run may write to its folder, and return the record of the run.

    Args:
        o: Settings with `exp_dir` and, if a run may replace another one, `overwrite`.
        command: Name of the command.
        writes: Patterns of the names that the command writes at the top of the folder.
        part: Name of the part of the command's results that this run writes, if several parts with separate files share
            a folder.
        fixed: Settings that must equal those of an earlier run in the folder; by default all on which results depend.
        free: Settings that may differ nevertheless.
        growing: Settings that are lists and may have become longer.
        marks: Files or folders that show that this command wrote to a folder without config.yaml.

    Raises:
        UserError: The folder contains results of another command or of other settings.
    """
    folder = o.folder
    settings = plain_settings(o)
    path = folder / (f"config_{part}.yaml" if part else "config.yaml")
    earlier = {file: read_config(file) for file in sorted(folder.glob("config*.yaml"))}
    results = _results_in(folder, ("*",) if earlier else writes)
    if not results or getattr(o, "overwrite", False):
        return Record(path, command, settings)
    hint = "give another exp_dir" + (", or `overwrite`" if hasattr(o, "overwrite") else "")
    for file, config in earlier.items():
        if config.get(COMMAND) != command:
            raise UserError(
                f"{str(folder)!r} contains results of {config.get(COMMAND)}, according to {file.name}: {hint}"
            )
    if not earlier and not any((folder / mark).exists() for mark in marks):
        raise UserError(
            f"{str(folder)!r} contains files that this command did not write, such as {results[0]!r}: {hint}"
        )
    names = [name for name in settings if name not in MACHINE_SETTINGS] if fixed is None else fixed
    before = earlier.get(path, {})
    changed = _changed(settings, before, [name for name in names if name not in free], growing)
    if changed:
        raise UserError(f"{str(folder)!r} contains results with another {' and another '.join(changed)}: {hint}")
    return Record(path, command, settings, before.get(RUNS) or [])


def check_place(name: str, path: Path) -> None:
    """Check that results can be written to a place, before any work is done.

    Args:
        name: Name of the setting: `exp_dir` for a folder, or `out` for a file if its suffix is in FILE_SUFFIXES.
        path: The folder or file, which need not exist yet.

    Raises:
        UserError: The place is on another machine, a file exists where a folder is needed or vice versa, or the place
            cannot be written.
    """
    check_local(name, path)
    with writing(path):
        if name == FILE and path.suffix.lower() in FILE_SUFFIXES and path.is_dir():
            raise UserError(f"{name} must be a file, but {str(path)!r} is a folder: choose another name")
        existing = next(place for place in (path, *path.absolute().parents) if place.exists())
        if not existing.is_dir() and not (name == FILE and existing == path):
            raise UserError(f"{name} cannot be {str(path)!r}: {str(existing)!r} is a file, not a folder")
        if not os.access(existing, os.W_OK):
            raise UserError(f"{name} cannot be {str(path)!r}: {str(existing)!r} cannot be written")


def check_new(paths: Iterable[Path], overwrite: bool) -> None:
    """Check that files do not exist yet, unless they may be overwritten.

    Raises:
        UserError: One of the files exists.
    """
    for path in paths:
        if path.exists() and not overwrite:
            raise UserError(f"{str(path)!r} exists already: give another name, or `overwrite`")


def plain_settings(o: Any) -> dict[str, Any]:
    """Return {setting: value} of a dataclass and its nested dataclasses, in types of YAML and JSON."""
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(o):
        if field.name in CALL_SETTINGS:
            continue
        value = getattr(o, field.name)
        plain |= plain_settings(value) if is_dataclass(value) else {field.name: _plain(value)}
    return plain


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings.

    Raises:
        UserError: The file cannot be read, or does not map names to values.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_CONFIG + 1)
        if len(content) > LONGEST_CONFIG or b"<<" in content:  # nested merges could take hours to expand
            raise UserError(f"{str(path)!r} is not a list of settings: it is too large, or merges mappings")
        config = yaml.safe_load(content.decode("utf-8"))
        _count_values(config, path)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {str(path)!r}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{str(path)!r} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        raise UserError(f"{str(path)!r} is not a list of settings: it needs lines such as `max_steps: 1000`")
    return config


def _count_values(config: object, path: Path) -> None:
    """Raise a UserError if aliases expand to more values than any file of settings has."""
    waiting = [config]
    for value in waiting:
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list | set) else ()
        if len(waiting) > MAX_VALUES:
            raise UserError(f"{str(path)!r} is not a list of settings: it has more than {MAX_VALUES:,} values")


def is_first_process() -> bool:
    """Return whether this is the first process of torchrun, which writes for all, without importing PyTorch."""
    return os.environ.get("RANK", "0") == "0"


def label(name: str | Path) -> str:
    """Return a short name of a model, folder or file, for use in the name of another folder."""
    path = Path(str(name).partition("::")[0])
    path = path.parent if "{" in path.name else path  # the folder of shards
    inner = path.parent.parent if path.parent.name == "checkpoints" else path
    return inner.resolve().name.partition(".")[0] or "model"


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return {key: _plain(entry) for key, entry in value.items()} if isinstance(value, dict) else value


def _results_in(folder: Path, patterns: Sequence[str]) -> list[str]:
    """List the files and folders at the top of a folder that match the patterns and may be results, unlike logs."""
    entries = {entry for pattern in patterns for entry in folder.glob(pattern) if not entry.name.startswith(".")}
    return sorted(entry.name for entry in entries if entry.suffix.lower() not in NON_RESULT_SUFFIXES)


def _changed(
    settings: dict[str, Any], earlier: dict[str, Any], names: Sequence[str], growing: Sequence[str]
) -> list[str]:
    """List the settings that have changed. A setting that is missing in the earlier run counts as equal."""
    return [
        name
        for name in names
        if name in earlier and earlier[name] != settings[name]
        if not (name in growing and set(earlier[name]) <= set(settings[name]))
    ]


# --- the origin of a result ---


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
