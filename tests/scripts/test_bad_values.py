"""Invalid values of every flag of every command give one sentence."""

import os
import runpy
import sys
import typing
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
from tyro._parsers import ParserSpecification

from options import parse
from options.flags import flags_by_name, with_flags
from options.parse import check_settings
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import refusal
from stylegan2.runtime.ranges import bounds

SCRIPTS = sorted(path for path in Path(__file__).parents[2].glob("scripts/*.py") if path.stem[0] != "_")
REQUIRED = {"--resolution": "64", "--data_path": "photos", "--out": "a.zip", "--directions": "a.safetensors"}
WORDS = {"download": ["lpips"], "convert": ["inspect", "a.pt"], "prepare_data": ["--data_path", "photos"]}
OUT_SUFFIX = {"prepare_data": ".zip", "evaluate_generator": ".json"}
OUT_NEEDS = {"edit": ["me.jpg", "--direction", "smile=1"]}
NUMBERS = [float("nan"), float("inf"), -float("inf"), 2**63, -(2**63) - 1, 10**30, -(10**30), 1e308, -1e308, 0, -1]
TEXTS = [
    "",
    "nan",
    "inf",
    "-inf",
    "1e999",
    str(2**63),
    "9" * 5_000,
    "x",
    "-1",
    "\x1b[31m",
    "a" * 5_000,
    "../../a",
    "é\u202e",
]


class Command(typing.NamedTuple):
    name: str
    settings: type
    presets: typing.Any

    @property
    def required(self) -> list[str]:
        """Return the words that must be given so that the other flags are checked."""
        flags = flags_by_name(self.settings)
        missing = [flag.name for flag in flags.values() if flag.required]
        words = WORDS.get(self.name, [])
        return words + [w for f in dict.fromkeys(missing) if f not in words for w in (f, REQUIRED.get(f, "a"))]


@pytest.fixture(scope="module")
def commands():
    """List all commands with what each passes to `run`."""
    commands = []
    with pytest.MonkeyPatch.context() as patch:  # which ends also where a script fails
        patch.setattr(sys, "path", [str(SCRIPTS[0].parent), *sys.path])
        for script in SCRIPTS:

            def take(main, settings, presets=None, shares=False, name=script.stem):
                commands.append((name, settings, presets))

            patch.setattr(sys, "argv", [str(script)])
            patch.setattr(parse, "run", take)
            runpy.run_path(str(script), run_name="__main__")
    assert len(commands) == len(SCRIPTS) >= 18
    return [Command(*entry) for entry in commands]


def numeric(hint: object) -> bool:
    """Return whether an annotation allows numbers."""
    return hint in (int, float) or any(numeric(part) for part in typing.get_args(hint))


def numbers_of(settings: object):
    """Yield (a function that replaces a number of the settings, its name, its annotation), also for nested settings."""
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            for change, name, hint in numbers_of(value):
                yield lambda x, field=field, change=change: replace(settings, **{field.name: change(x)}), name, hint
        elif numeric(hints[field.name]) and not isinstance(value, dict | bool):
            wrap = isinstance(value, tuple)
            yield (
                lambda x, name=field.name, wrap=wrap: replace(settings, **{name: (x,) if wrap else x}),
                field.name,
                hints[field.name],
            )


def assert_sentence(error: UserError) -> None:
    sentence = str(error)
    assert sentence
    assert sentence.count("\n") == 0
    assert len(sentence) < 12_000


def test_no_number_is_taken_that_is_none(commands):
    looked_at = set()
    for command in commands:
        start = parse.parse(command.settings, command.presets, args=command.required)
        for change, name, _ in numbers_of(start):
            looked_at.add(name)
            for number in NUMBERS:
                try:
                    check_settings(change(number))
                except UserError as error:
                    assert_sentence(error)
                    continue
                except (OverflowError, ValueError, TypeError) as error:
                    pytest.fail(f"{command.name} --{name} {number}: {error!r}")
                infinite = number != number or number in (float("inf"), -float("inf"))
                assert not infinite or name == "max_aspect", f"{command.name} --{name} takes {number}"
                assert not isinstance(number, int) or abs(number) < 2**63, f"{command.name} --{name} takes {number}"
    assert len(looked_at) > 80


def test_what_counts_or_seeds_is_bounded_where_it_is_declared(commands):
    """A plain int or float has no range, so it needs a reason."""
    free = {
        "truncation_psi",
        "ada_target",
        "grow_from",
        "resolution",
        "channels",
        "d_side",
        "label_nc",
        "resize_factor",
    }
    bare = set()
    for command in commands:
        start = parse.parse(command.settings, command.presets, args=command.required)
        bare |= {name for _, name, hint in numbers_of(start) if not list(bounds(hint)) and "_lambda" not in name}
    assert bare <= free, f"without a range: {bare - free}"


@pytest.fixture
def parsers_once(monkeypatch):
    """Build the parser of each class of settings only once, because building it takes most of the time."""
    build, built = ParserSpecification.from_callable_or_type, {}

    def once(f, **about):
        if about["parent_classes"]:  # a part of another one
            return build(f, **about)
        built[f] = built.get(f) or build(f, **about)
        return built[f]

    monkeypatch.setattr(ParserSpecification, "from_callable_or_type", once)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("parsers_once")
def test_every_flag_answers_every_text_with_a_sentence_or_takes_it(commands, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in commands:
        flags = {flag.name for flag in flags_by_name(command.settings).values() if not flag.name.startswith("--no_")}
        for flag in sorted(flags):
            for text in TEXTS:
                try:
                    parse.parse(command.settings, command.presets, args=[*command.required, flag, text])
                except UserError as error:
                    assert_sentence(error)
                except OSError:
                    pass  # `run` makes a sentence of it
                else:
                    may_be_empty = flags_by_name(command.settings)[flag].may_be_empty
                    assert text != "" or may_be_empty, f"{command.name} takes an empty {flag}"
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_not_the_current_one(commands):
    for command in commands:
        if "--exp_dir" not in flags_by_name(command.settings):
            continue
        for words in (["--exp_dir", ""], ["--exp_dir="], ["--exp-dir", ""]):
            with pytest.raises(UserError, match="--exp_dir is empty"):
                parse.parse(command.settings, command.presets, args=[*command.required, *words])


def test_places_where_nothing_can_be_written(commands, tmp_path):
    (tmp_path / "file").write_text("x")
    for suffix in (".zip", ".json", ".safetensors"):
        (tmp_path / f"folder{suffix}").mkdir()
    places = {
        "--exp_dir": {
            tmp_path / "file": "is a file",
            tmp_path / "file" / "below": "is a file",
            "a" * 5_000: "too long",
        },
        "--out": {tmp_path / "folder": "is a folder", tmp_path / "file" / "a": "is a file"},
    }
    for command in commands:
        for flag in places.keys() & flags_by_name(command.settings).keys():
            suffix = "" if flag == "--exp_dir" else OUT_SUFFIX.get(command.name, ".safetensors")
            for place, words in places[flag].items():
                with pytest.raises((UserError, OSError)) as caught:  # `run` makes a sentence of both
                    settings = parse.parse(
                        command.settings,
                        command.presets,
                        args=[*command.required, *OUT_NEEDS.get(command.name, []), flag, f"{place}{suffix}"],
                    )
                    raise AssertionError(settings)
                assert words in with_flags(refusal(caught.value) or str(caught.value), command.settings)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a POSIX thing")
def test_no_command_waits_for_a_pipe_or_reads_a_device(commands, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    tried = 0
    for command in commands:
        for flag in flags_by_name(command.settings).values():
            if not flag.name.endswith(
                ("data", "data_path", "labels", "landmarks", "checkpoint_path", "generator", "out")
            ):
                continue
            for place in (tmp_path / "pipe", Path("/dev/zero")):
                words = [*command.required, flag.name, str(place)]
                with pytest.raises(UserError) as caught:
                    parse.parse(command.settings, command.presets, args=words)
                tried += "it is a pipe or a device, not a file" in str(caught.value)
    assert tried > 40
