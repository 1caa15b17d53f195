"""Flags, presets, and one sentence for every mistake."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from options.parse import exit_on_user_error, parse, run
from scripts.inference import Inference
from stylegan2.runtime.errors import UserError


@dataclass(frozen=True)
class Inner:
    """Inner settings."""

    learning_rate: float = 0.002
    """step width"""
    betas: tuple[float, ...] = (0.0, 0.99)
    """moments"""

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise UserError("the learning rate must be positive")


@dataclass(frozen=True)
class Outer:
    """What the program does."""

    exp_dir: Path
    """where results go"""
    mirror_images: bool = False
    """flip half of them"""
    align: bool = True
    """find faces"""
    batch_size: Annotated[int, tyro.conf.arg(aliases=["--test-batch"])] = 4
    """images a step"""
    mode: Literal["fast", "slow"] = "fast"
    """how"""
    limit: int | None = None
    """at most this many"""
    preset: str | None = None
    """named defaults"""
    inner: tyro.conf.OmitArgPrefixes[Inner] = field(default_factory=Inner)


PRESETS = {"small": {"batch_size": 2, "mirror_images": True, "align": False, "limit": None, "betas": (0.5, 0.9)}}


def outer(*args, presets=None):
    return parse(Outer, presets, args=["--exp_dir", "x", *args])


def test_defaults_and_nested_flags():
    assert outer() == Outer(Path("x"))
    assert outer("--learning_rate", "0.1").inner == Inner(0.1)


@pytest.mark.parametrize("form", [["--batch_size", "9"], ["--batch-size", "9"], ["--batch_size=9"], ["--test_batch=9"]])
def test_underscores_hyphens_equals_and_aliases(form):
    assert outer(*form).batch_size == 9


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--mirror_images"], (True, True)),
        (["--mirror-images", "--no-align"], (True, False)),
        (["--no_align"], (False, False)),
        (["--align", "False"], (False, False)),
        (["--align=false", "--mirror_images", "TRUE"], (True, False)),
        (["--no_align", "--align"], (False, True)),
    ],
)
def test_booleans(args, expected):
    settings = outer(*args)
    assert (settings.mirror_images, settings.align) == expected


def test_preset_and_the_flags_beside_it():
    settings = outer("--preset", "small", "--batch_size", "7", "--no_mirror_images", presets=PRESETS)
    assert settings == Outer(Path("x"), False, False, 7, preset="small", inner=Inner(betas=(0.5, 0.9)))
    assert outer("--batch_size=7", "--preset=small", presets=PRESETS).batch_size == 7


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--btch_size", "3"], "no option --btch_size: did you mean --batch_size"),
        (["--learning-rat", "3"], "did you mean --learning_rate"),
        (["--qqqq"], "no option --qqqq: see --help"),
        (["--batch_size", "three"], "--batch_size.*'three'"),
        (["--batch_size"], "[Mm]issing value.*--batch_size"),
        (["--mode", "medium"], "'medium'.*'fast', 'slow'"),
        (["--align", "perhaps"], "perhaps"),
        (["stray"], "stray"),
        (["--learning_rate", "-1"], "must be positive"),
        (["--preset", "huge"], "no preset 'huge': choose one of small"),
    ],
)
def test_mistakes_are_one_sentence(args, words, capsys):
    with pytest.raises(UserError, match=words) as caught:
        outer(*args, presets=PRESETS)
    assert "\n" not in str(caught.value)
    assert "─" not in str(caught.value)
    assert capsys.readouterr() == ("", "")


def test_what_is_required_is_named():
    with pytest.raises(UserError, match="--data_path and --exp_dir must be given"):
        parse(Inference, args=["--no_align"])
    assert parse(Inference, args=["--data", "a", "--exp_dir", "b"]).data_path == Path("a")


def test_help_explains_every_field(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Outer, args=["--help"])
    assert not stop.value.code
    text = capsys.readouterr().out
    for word in (
        "What the program does",
        "--exp_dir",
        "where results go",
        "--learning_rate",
        "step width",
        "--no_align",
    ):
        assert word in text


@pytest.mark.parametrize(
    ("mistake", "code", "text"),
    [(UserError("two\nlines"), 2, "error: two lines\n"), (KeyboardInterrupt(), 130, "interrupted\n")],
)
def test_exit_codes_of_mistakes(mistake, code, text, capsys):
    with pytest.raises(SystemExit) as stop, exit_on_user_error():
        raise mistake
    assert stop.value.code == code
    assert capsys.readouterr().err == text


@dataclass(frozen=True)
class Empty:
    """Has no settings."""


@pytest.fixture(autouse=True)
def _no_arguments(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["command.py"])


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("learning_rate must be positive, not -1", "--learning_rate must be positive, not -1"),
        ("align is for photos: give exp_dir too.", "--align is for photos: give --exp_dir too."),
        ("use batch_size 4, --limit 3 or test_batch", "use --batch_size 4, --limit 3 or --test_batch"),
        ("leave out no_align", "leave out --no_align"),
        ("give `limit`, and the limit of `mode` 3; `other`", "give --limit, and the limit of --mode 3; `other`"),
        ("the mode is no flag here, nor is 'exp_dir'", "the mode is no flag here, nor is 'exp_dir'"),
        ("no file runs/exp_dir/a or exp_dir.txt or my_exp_dir", "no file runs/exp_dir/a or exp_dir.txt or my_exp_dir"),
    ],
)
def test_the_librarys_fields_are_flags_to_a_user(sentence, expected, capsys):
    with pytest.raises(SystemExit), exit_on_user_error(Outer):
        raise UserError(sentence)
    assert capsys.readouterr().err == f"error: {expected}\n"


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (1, 1)])
def test_run_exits_with_the_answer_of_main(answer, code):
    with pytest.raises(SystemExit) as stop:
        run(lambda settings: answer, Empty)
    assert stop.value.code == code


@pytest.mark.parametrize(("shares", "size", "code"), [(False, 1, 0), (False, 2, 2), (True, 2, 0)])
def test_processes_of_torchrun_do_not_all_do_the_same_work(shares, size, code, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", str(size))
    with pytest.raises(SystemExit) as stop:
        run(lambda settings: 0, Empty, shares=shares)
    assert stop.value.code == code
    printed = "" if code == 0 else "error: this command runs in one process: start it without torchrun\n"
    assert capsys.readouterr().err == printed


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run(lambda settings: 1 // 0, Empty)


def test_presets_may_be_a_function_of_the_flags():
    def chosen(given):
        assert given["--exp_dir"] == "x"
        return {"batch_size": 10 * int(given.get("--limit", 1))}

    assert outer(presets=chosen).batch_size == 10
    assert outer("--limit=3", presets=chosen).batch_size == 30
    assert outer("--limit", "3", "--batch-size", "5", presets=chosen).batch_size == 5


@dataclass(frozen=True)
class Sized:
    """Has a table."""

    sizes: dict[int, int] = field(default_factory=dict)
    """pairs"""
    preset: str | None = None
    """named defaults"""


def test_a_preset_may_hold_a_table():
    table = {"two": {"sizes": {8: 4, 16: 2}}, "none": {"sizes": {}}}
    assert parse(Sized, table, args=["--preset", "two"]).sizes == {8: 4, 16: 2}
    assert parse(Sized, table, args=["--preset", "none"]).sizes == {}
    assert parse(Sized, table, args=["--preset", "two", "--sizes", "4", "1"]).sizes == {4: 1}
