"""Parsing of the command line to a settings dataclass (by tyro), and one-sentence messages for mistakes of the user."""

import contextlib
import difflib
import io
import os
import shlex
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import dropwhile, groupby, pairwise, takewhile
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro

from options.flags import Flag, flags_by_name, underscored, with_flags
from options.results import FILE, FOLDER, NON_SETTINGS, RUNS, check_place, read_config
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import refusal
from stylegan2.runtime.heartbeat import tell_launcher
from stylegan2.runtime.memory import shortage
from stylegan2.runtime.output_names import printable
from stylegan2.runtime.ranges import check_ranges
from stylegan2.runtime.work_group import was_launched

Settings = TypeVar("Settings")
Presets = dict[str, dict[str, object]] | Callable[[Mapping[str, str]], dict[str, object]]
YES_NO = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def parse(
    settings: type[Settings],
    presets: Presets | None = None,
    description: str | None = None,
    args: Sequence[str] | None = None,
) -> Settings:
    """Parse the command line to settings.

    Args:
        settings: A dataclass. Each field is a flag with the name of the field (with underscores or hyphens), and the
            docstring below the field is the help text. A field without a default is required. A bool is `--flag` or
            `--no_flag`; `--flag false` is accepted as well. A nested dataclass must be annotated with
            `tyro.conf.OmitArgPrefixes`, so that its flags have no prefix.
        presets: Either {name: {field: value}}, from which the field `preset` selects, or a function from the given
            flags, {"--flag": first word after it}, to {field: value}. Flags that the user gives, and the settings of
            the file that the field `config` names, take precedence over a preset.
        description: First lines of the help text; by default the docstring of the dataclass.
        args: Words of the command line; by default those of the process.

    Raises:
        UserError: A flag is unknown (the message names the most similar one), a value is missing or invalid, or a check
            of the dataclass failed.
    """
    args = list(sys.argv[1:] if args is None else args)
    if "-h" in args or "--help" in args:
        args = ["--help"]  # prints and exits with code 0
    else:
        flags = flags_by_name(settings)
        args = _placed_first(_canonical(args, flags), flags)
        placed = sum(1 for _ in takewhile(lambda word: not word.startswith("--"), args))  # words before the first flag
        args = args[:placed] + _of_config(args, flags) + args[placed:]
        args = args[:placed] + _of_preset(args, presets or {}, flags) + args[placed:]  # the last of equal flags counts
        _check_required(args, flags)
        _check_not_empty(args, flags)
    try:
        with _tyro_errors():
            parsed = tyro.cli(settings, args=args, use_underscores=True, description=description)
        check_settings(parsed)
        return parsed
    except UserError as error:
        raise UserError(with_flags(str(error), settings)) from None


def check_settings(settings: Any) -> None:
    """Check the settings of a command, including nested dataclasses.

    Raises:
        UserError: A setting is invalid. The message begins with the name of the field.
    """
    check_ranges(settings)
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            check_settings(value)
            continue
        if isinstance(value, Path) and field.name in (FOLDER, FILE):
            check_place(field.name, value)
        for part in value if isinstance(value, list | tuple) else (value,):
            if isinstance(part, str | Path):
                _check_is_no_pipe(field.name, part)


def _check_is_no_pipe(name: str, value: str | Path) -> None:
    """Refuse a named pipe or a device, which could be waited for, or read, for ever."""
    try:
        mode = os.stat(value).st_mode
    except (OSError, ValueError):  # text that is no path, or a path to be made
        return
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise UserError(f"{name} cannot be {str(value)!r}: it is a pipe or a device, not a file")


def run(
    main: Callable[[Settings], int | None],
    settings: type[Settings],
    presets: Presets | None = None,
    *,
    shares: bool = False,
) -> NoReturn:
    """Parse the command line (see `parse`), call the `main` of a command with the settings, and exit.

    The exit code is the one that `main` returns (0 for None), or the one of `exit_on_user_error` after an error.

    Args:
        main: The function of the command.
        settings: The dataclass of the command.
        presets: Presets of the command.
        shares: Whether several processes that torchrun starts share the work of the command. Other commands refuse
            them, because each process would do the same work.
    """
    _handle_interrupts()
    with exit_on_user_error(settings):
        given = parse(settings, presets)
        if was_launched() and not shares:
            raise UserError("this command runs in one process: start it without torchrun")
        sys.exit(main(given) or 0)


def given_fields(settings: type, args: Sequence[str] | None = None) -> set[str]:
    """Return the names of the fields, including those of nested dataclasses, that the command line sets.

    Fields that only a preset sets are not included. With --config, the fields that the command line of the earlier run
    set are included; if the file was not written by a run, all fields in the file are.
    """
    words = _canonical(list(sys.argv[1:] if args is None else args), flags_by_name(settings))
    given = {word[2:].removeprefix("no_") for word in words if word.startswith("--")}
    if "--config" in words[:-1]:
        config = read_config(Path(words[words.index("--config") + 1]))
        given |= given_fields(settings, _command_of(config)) if config.get(RUNS) else config.keys() - set(NON_SETTINGS)
    return given


def _command_of(config: Mapping[str, Any]) -> list[str]:
    """Return the words of the newest command line in a config.yaml, from the first flag on, without --config."""
    words = shlex.split(config[RUNS][-1]["command_line"])
    flags = list(dropwhile(lambda word: not word.startswith("--"), words))
    at = flags.index("--config") if "--config" in flags else len(flags)  # that file may no longer exist
    return flags[:at] + flags[at + 2 :]


@contextlib.contextmanager
def exit_on_user_error(settings: type | None = None) -> Iterator[None]:
    """Exit with code 2 and one line on stderr after a UserError, with 130 after Ctrl-C, and with 141 on a closed pipe.

    Errors of the disk and a lack of memory are reported in the same way as a UserError.

    Args:
        settings: The dataclass of a command. If it is given, messages name the flags instead of the fields.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, because Python prints a traceback if a closed pipe is flushed at exit
    except UserError as error:
        sentence = printable(" ".join(str(error).split()))
        _stop(f"error: {with_flags(sentence, settings) if settings else sentence}", 2)
    except KeyboardInterrupt:
        _stop("interrupted", 130)
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python would print an error at exit
        sys.exit(141)
    except (MemoryError, RuntimeError, OSError) as error:
        sentence = shortage(error) or refusal(error)
        if sentence is None:
            raise
        _stop(f"error: {printable(sentence)}", 2)


def _handle_interrupts() -> None:
    """Let Ctrl-C raise a KeyboardInterrupt again, unless it is ignored (`scripts/_start.py` changes it for imports)."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop(sentence: str, code: int) -> NoReturn:
    with contextlib.suppress(OSError):  # stderr may be closed as well
        print(sentence, file=sys.stderr)
    if code == 2:
        tell_launcher(sentence.removeprefix("error: "))
    sys.exit(code)


def _canonical(args: list[str], flags: dict[str, Flag]) -> list[str]:
    """Rewrite `--a-b=c` as `--a_b c`, `--flag false` as `--no_flag`, and aliases as the names of their fields.

    Raises:
        UserError: A flag is unknown.
    """
    words: list[str] = []
    for arg in args:
        if not arg.startswith("--"):
            words.append(arg)
            continue
        name, equals, value = arg.partition("=")
        name = underscored(name)
        if name not in flags:
            nearest = difflib.get_close_matches(name, flags, n=1)
            raise UserError(
                f"there is no option {name}: " + (f"did you mean {nearest[0]}?" if nearest else "see --help")
            )
        words += [flags[name].name, value] if equals else [flags[name].name]
    return _switches(words, flags)


def _placed_first(words: list[str], flags: dict[str, Flag]) -> list[str]:
    """Move positional values to the front and drop their names, if the user typed them by name."""
    for name in (word for word in words if word in flags and flags[word].positional):
        at = words.index(name)
        words = [*words[at + 1 : at + 2], *words[:at], *words[at + 2 :]]
    return words


def _switches(words: list[str], flags: dict[str, Flag]) -> list[str]:
    """Rewrite a boolean flag that is followed by a value, such as `--flag false`, as `--flag` or `--no_flag`."""
    result: list[str] = []
    for word in words:
        before = flags.get(result[-1]) if result else None
        if before is not None and before.boolean and word.lower() in YES_NO:
            result[-1] = result[-1] if YES_NO[word.lower()] else "--no_" + result[-1][2:]
        else:
            result.append(word)
    return [part for word in result for part in _with_value(word, flags)]


def _with_value(word: str, flags: dict[str, Flag]) -> list[str]:
    """Rewrite an optional boolean for tyro: `--flag` as `--flag True` and `--no_flag` as `--flag False`."""
    if word not in flags or not flags[word].optional:
        return [word]
    return [word, "True"] if flags[word].boolean else [f"--{word.removeprefix('--no_')}", "False"]


def _of_config(args: list[str], flags: dict[str, Flag]) -> list[str]:
    """Return the words of a command line for the settings in the file of --config.

    Raises:
        UserError: There is no such file, or it contains names that are not settings.
    """
    given = {flag: word for flag, word in pairwise(args) if flag.startswith("--")}
    if "--config" not in flags or "--config" not in given:
        return []
    path = Path(given["--config"])
    named = {
        name: value for name, value in read_config(path).items() if name not in NON_SETTINGS and value not in (None, [])
    }
    placed = [name for name in named if f"--{name}" in flags and flags[f"--{name}"].positional]
    first = [word for name in placed for word in _words(named.pop(name)) if args[0].startswith("--")]
    try:
        return first + _as_typed(named, flags)
    except UserError as error:
        raise UserError(f"{str(path)!r}: {error}") from None


def _of_preset(args: list[str], presets: Presets, flags: dict[str, Flag]) -> list[str]:
    """Return the words of a command line for the settings of the chosen preset."""
    given = {flag: word for flag, word in pairwise(args) if flag.startswith("--")}
    return _as_typed(presets(given) if callable(presets) else _named(presets, given), flags)


def _as_typed(settings: Mapping[str, object], flags: dict[str, Flag]) -> list[str]:
    """Return the words of a command line for settings.

    Raises:
        UserError: A name is not that of a setting.
    """
    words: list[str] = []
    for field, value in settings.items():
        if isinstance(value, bool):
            words.append(f"--{field}" if value else f"--no_{field}")
        else:
            words += [f"--{field}", *_words(value)]
    return _canonical(words, flags)


def _named(presets: Mapping[str, dict[str, object]], given: Mapping[str, str]) -> dict[str, object]:
    name = given.get("--preset")
    if name is None:
        return {}
    if name not in presets:
        raise UserError(f"there is no preset {name!r}: choose one of {', '.join(presets) or '(this script has none)'}")
    return presets[name]


def _words(value: object) -> list[str]:
    if isinstance(value, dict):
        return [str(word) for pair in value.items() for word in pair]
    return [str(word) for word in value] if isinstance(value, tuple | list) else [str(value)]


def _check_not_empty(args: list[str], flags: dict[str, Flag]) -> None:
    for flag, word in pairwise(args):
        if word == "" and flag in flags and not flags[flag].may_be_empty:
            raise UserError(f"{flag} is empty: give a value, or leave it out")


def _check_required(args: list[str], flags: dict[str, Flag]) -> None:
    placed = bool(args) and not args[0].startswith("--")
    missing = [
        flag.name
        for flag in flags.values()
        if flag.required and flag.name not in args and not (flag.positional and placed)
    ]
    if missing:
        raise UserError(f"{' and '.join(dict.fromkeys(missing))} must be given: see --help")


@contextlib.contextmanager
def _tyro_errors() -> Iterator[None]:
    """Raise a UserError of one sentence in place of the box that tyro prints about an invalid value."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            yield
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_sentence(printed.getvalue())) from None


def _sentence(box: str) -> str:
    """Extract the message of a box: the lines between its title and the next horizontal rule."""
    lines = [line.strip(" │╭╮╰╯") for line in box.splitlines()]
    parts = [list(part) for rule, part in groupby(lines[1:], key=lambda line: set(line) <= set("─-")) if not rule]
    text = " ".join(parts[0] if parts else lines)
    text = text.removeprefix("Error parsing ").removesuffix(".").replace(". ", "; ")
    return f"{text[:1].lower()}{text[1:]} (see --help)"
