"""Where a command writes: a folder belongs to one run, whose config.yaml says which, and nothing is replaced unasked.

A command that fills a folder asks for its record first (`record_for`), and writes it where its results begin; one that
writes a file begins with `check_new`. The config.yaml of a run holds its settings, as --config reads them, and under
`runs` each command line with the versions of packages and the revision of the code.
"""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from options.provenance import provenance
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import hold_folder, write_text

Settings = TypeVar("Settings")
COMMAND, RUNS = "command", "runs"
ABOUT = (COMMAND, RUNS)
"""Entries of config.yaml that are no settings."""
OF_THE_CALL = ("config", "overwrite", "dry_run")
"""Settings that are not written to config.yaml, as they are no property of a run."""
OF_THE_MACHINE = ("device", "tune_malloc", "workers", "exp_dir")
"""Settings on which results do not depend."""
LONGEST_CONFIG, MOST_VALUES = 2**20, 10_000  # bytes and values of a file of settings
NO_RESULTS = (".txt", ".log", ".out", ".err", ".yaml", ".yml", ".sh")
"""Suffixes of files that may lie in a folder before its first run."""


@dataclass(frozen=True, kw_only=True)
class Configured:
    """Settings that the dataclass of a command inherits which may read them from a file."""

    config: Path | None = None
    """a YAML file of settings, such as the config.yaml of an earlier run; flags given beside it win"""

    @property
    def folder(self) -> Path:
        """Return `exp_dir`, which is known once `with_folder` has returned the settings."""
        exp_dir = getattr(self, "exp_dir", None)
        if exp_dir is None:
            raise ValueError("the folder of the results is not known yet: call with_folder first")
        return exp_dir


@dataclass(frozen=True, kw_only=True)
class Results(Configured):
    """Settings that the dataclass of a command inherits whose results can be replaced."""

    overwrite: bool = False
    """replace what another run left at the same place"""


@dataclass(frozen=True)
class Record:
    """What config.yaml says of a run: it is written once all mistakes of its user have been said."""

    path: Path
    command: str
    settings: dict[str, Any]
    earlier_runs: Sequence[Any] = ()
    """that the folder has results of, which this one goes on with"""

    @property
    def text(self) -> str:
        """The settings alone, as YAML."""
        return yaml.safe_dump(self.settings, sort_keys=False, allow_unicode=True)

    def write(self) -> str:
        """Write the file, keep its folder to this process, and return its text; of several processes the first does.

        Raises:
            UserError: It cannot be written, or another process writes to the folder.
        """
        config = {COMMAND: self.command, **self.settings, RUNS: [*self.earlier_runs, provenance()]}
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        if is_first_process():
            hold_folder(self.path.parent)
            write_text(self.path, text)
        return text


def with_folder(o: Settings, default: str) -> Settings:
    """Return settings whose `exp_dir`, if it is None, is the folder `default` below runs/."""
    if getattr(o, "exp_dir") is not None:  # noqa: B009
        return o
    return dataclasses.replace(o, exp_dir=Path("runs") / default)  # type: ignore[type-var]


def record_for(
    o: Any,
    command: str,
    *,
    writes: Sequence[str] = ("*",),
    part: str = "",
    fixed: Sequence[str] | None = None,
    free: Sequence[str] = (),
    growing: Sequence[str] = (),
    marks: Sequence[str] = (),
) -> Record:
    """Return the record of a run that may have its folder.

    Args:
        o: Settings with `exp_dir` and, where a run may replace another, `overwrite`.
        command: What writes.
        writes: Patterns of names at the top of the folder that it writes.
        part: Which of the command's results are written, where each has files of its own; they share a folder.
        fixed: Settings that an earlier run in the folder must have had too; by default all on which results depend.
        free: Settings that may differ then.
        growing: Lists that may have become longer.
        marks: Files or folders by which a folder without config.yaml shows that this command wrote there.

    Raises:
        UserError: The folder holds results of another command or of other settings.
    """
    folder: Path = o.exp_dir
    settings = plain_settings(o)
    path = folder / (f"config_{part}.yaml" if part else "config.yaml")
    earlier = {file: read_config(file) for file in sorted(folder.glob("config*.yaml"))}
    results = _results_in(folder, ("*",) if earlier else writes)
    if not results or getattr(o, "overwrite", False):
        return Record(path, command, settings)
    hint = "give another exp_dir" + (", or `overwrite`" if hasattr(o, "overwrite") else "")
    for file, config in earlier.items():
        if config.get(COMMAND) != command:
            raise UserError(f"{str(folder)!r} holds results of {config.get(COMMAND)}, as {file.name} says: {hint}")
    if not earlier and not any((folder / mark).exists() for mark in marks):
        raise UserError(f"{str(folder)!r} holds files of another origin, such as {results[0]!r}: {hint}")
    names = [name for name in settings if name not in OF_THE_MACHINE] if fixed is None else fixed
    before = earlier.get(path, {})
    changed = _changed(settings, before, [name for name in names if name not in free], growing)
    if changed:
        raise UserError(f"{str(folder)!r} holds results with another {' and another '.join(changed)}: {hint}")
    return Record(path, command, settings, before.get(RUNS) or [])


def check_new(paths: Iterable[Path], overwrite: bool) -> None:
    """Refuse to replace files. UserError: one of them is there."""
    for path in paths:
        if path.exists() and not overwrite:
            raise UserError(f"{str(path)!r} is there already: give another name, or `overwrite`")


def plain_settings(o: Any) -> dict[str, Any]:
    """Return {setting: value} of a dataclass and of those in it, in types that YAML and JSON know."""
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(o):
        if field.name in OF_THE_CALL:
            continue
        value = getattr(o, field.name)
        plain |= plain_settings(value) if is_dataclass(value) else {field.name: _plain(value)}
    return plain


def read_config(path: Path) -> dict[str, Any]:
    """Read a file of settings. UserError: it is no mapping of names to values, or cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_CONFIG + 1)
        if len(content) > LONGEST_CONFIG or b"<<" in content:  # a few merged mappings would take hours
            raise UserError(f"{str(path)!r} is no list of settings: it is too large, or merges mappings")
        config = yaml.safe_load(content.decode("utf-8"))
        _count_values(config, path)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {str(path)!r}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{str(path)!r} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        raise UserError(f"{str(path)!r} is no list of settings: it needs lines such as `max_steps: 1000`")
    return config


def _count_values(config: object, path: Path) -> None:
    """Raise UserError where aliases make a few lines stand for more values than any settings have."""
    waiting = [config]
    for value in waiting:
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list | set) else ()
        if len(waiting) > MOST_VALUES:
            raise UserError(f"{str(path)!r} is no list of settings: it has more than {MOST_VALUES:,} values")


def is_first_process() -> bool:
    """Return whether this process writes for all: torchrun numbers them before PyTorch is imported."""
    return os.environ.get("RANK", "0") == "0"


def label(name: str | Path) -> str:
    """Return a word for a model, a folder or a file, to name another folder by."""
    path = Path(str(name).partition("::")[0])
    path = path.parent if "{" in path.name else path  # of shards their folder
    inner = path.parent.parent if path.parent.name == "checkpoints" else path
    return inner.resolve().name.partition(".")[0] or "model"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return {key: _plain(entry) for key, entry in value.items()} if isinstance(value, dict) else value


def _results_in(folder: Path, patterns: Sequence[str]) -> list[str]:
    """List what at the top of a folder may be results of these names; a log that a shell writes there is none."""
    found = {entry for pattern in patterns for entry in folder.glob(pattern) if not entry.name.startswith(".")}
    return sorted(entry.name for entry in found if entry.suffix.lower() not in NO_RESULTS)


def _changed(
    settings: dict[str, Any], earlier: dict[str, Any], names: Sequence[str], growing: Sequence[str]
) -> list[str]:
    """List the settings that are not as they were; one that an earlier version did not know counts as equal."""
    return [
        name
        for name in names
        if name in earlier and earlier[name] != settings[name]
        if not (name in growing and set(earlier[name]) <= set(settings[name]))
    ]
