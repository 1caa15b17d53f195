"""The command `psp` has a subcommand for every script, and shows its help without importing PyTorch."""

import dataclasses
import importlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import options.commands
import psp
from options.commands import COMMANDS, main
from options.parse import parse

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "torchvision", "numpy", "PIL", "scipy", "lpips")
SECONDS = 0.5  # of a processor, that a help takes at most; allowed is GENEROUS times as much, as machines differ
GENEROUS = 3

OF_ALL = f"""
import contextlib, io, sys
sys.path.insert(0, {str(ROOT)!r})
from options.commands import COMMANDS, run
for name in COMMANDS:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            run(name, ["--help"])
    except SystemExit as stop:
        print(name, stop.code, printed.getvalue().startswith(f"usage: psp {{name}} "))
print("heavy:", [name for name in {HEAVY} if name in sys.modules])
"""


def call(*words, code=0, **environment):
    """Run `python -m psp` in a process of its own, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "psp", *map(str, words)],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_every_script_has_a_command():
    scripts = {path.stem for path in (ROOT / "scripts").glob("[!_]*.py")}
    settings = {path.stem for path in (ROOT / "options" / "commands").glob("[!_]*.py")}
    assert {command.script for command in COMMANDS.values()} == scripts == settings


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_runs_its_script(name):
    command = COMMANDS[name]
    module = importlib.import_module(f"options.commands.{command.script}")
    script = importlib.import_module(f"scripts.{command.script}")
    assert getattr(script, command.settings) is getattr(module, command.settings)
    assert callable(script.main)


def test_helps_do_not_wait_for_pytorch():
    """Importing the settings imports neither PyTorch nor NumPy."""
    done = subprocess.run([sys.executable, "-c", OF_ALL], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [*(f"{name} 0 True" for name in COMMANDS), "heavy: []"], done.stderr


@pytest.mark.parametrize("words", [["--help"], ["invert", "--help"], ["train", "--help"]], ids=" ".join)
def test_a_help_is_there_in_a_moment(words):
    """Processor time is measured, since other processes of a machine do not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "usage: psp" in call(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < GENEROUS * SECONDS


def test_packages_are_imported_without_pytorch():
    code = f"import psp, stylegan2, sys; print([name for name in {HEAVY} if name in sys.modules]); psp.load"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_mistakes_are_one_sentence():
    assert call("invrt", code=2) == "error: there is no command 'invrt': did you mean invert?\n"
    assert call("xyz", code=2) == "error: there is no command 'xyz': psp --help lists them\n"
    assert call("invert", "--dat", "a", code=2) == "error: there is no option --dat: did you mean --data?\n"
    assert call(code=2).startswith("usage: psp COMMAND")
    assert call("--version") == psp.__version__ + "\n"


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.first])
def test_a_first_word_is_what_a_command_works_on(name, monkeypatch):
    """`psp invert me.jpg` is `psp invert --data_path me.jpg`."""
    command, given = COMMANDS[name], {}
    settings = getattr(importlib.import_module(f"options.commands.{command.script}"), command.settings)
    assert command.first in {field.name for field in dataclasses.fields(settings)}
    monkeypatch.setattr(options.commands, "parse", lambda _, presets, args: given.update(args=args) or sys.exit())
    for words in (["me.jpg", "--exp_dir", "out"], ["--exp_dir", "out"]):
        with pytest.raises(SystemExit):
            options.commands.run(name, words)
        expected = [f"--{command.first}", *words] if words[0] == "me.jpg" else words
        assert given["args"] == expected


def test_evaluate_measures_a_generator_too(monkeypatch, capsys):
    for words, title in ((["--generator", "g"], "Measure a generator"), ([], "Measure encoders")):
        monkeypatch.setattr(sys, "argv", ["psp", "evaluate", *words, "--help"])
        with pytest.raises(SystemExit):
            main()
        assert title in capsys.readouterr().out


def test_a_closed_pipe_is_no_error():
    line = f"{sys.executable} -m psp train --help | head -1"
    done = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("usage: psp train")
    assert done.stderr == ""


def test_hugging_face_datasets_may_be_installed(tmp_path):
    """`datasets` is this project's package in the process of the command, and Hugging Face's elsewhere."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("load_dataset = 'theirs'\n")
    both = os.pathsep.join([str(tmp_path), str(ROOT)])
    code = "import psp, datasets; print(datasets.load_dataset)"
    done = subprocess.run(
        [sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", "-c", code],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": both}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "theirs\n"
    done = subprocess.run(
        [sys.executable, "-m", "psp", "prepare", "--synthetic", "1", "--resolution", "32", "--out", "faces.zip"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": both}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "faces.zip").is_file()


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("train", ["super_resolution", "restyle_e4e", "light_feature", "light-e4e"]),
        ("train-gan", ["tiny-cpu", "config-f", "paper256"]),
        ("generate", ["samples,truncation,mixing,noise,interpolation"]),
    ],
)
def test_help_lists_what_can_be_chosen(name, choices, capsys):
    command = COMMANDS[name]
    settings = getattr(importlib.import_module(f"options.commands.{command.script}"), command.settings)
    with pytest.raises(SystemExit):
        parse(settings, args=["--help"])
    printed = "".join(capsys.readouterr().out.replace("│", " ").split())
    assert [choice for choice in choices if choice not in printed] == []
