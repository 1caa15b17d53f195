"""Every command and flag in README.md, CONTRIBUTING.md and docs/ exists and can be parsed."""

import re
import runpy
import shlex
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from options import parse
from options.commands import COMMANDS as BY_NAME
from options.commands import resolved, with_positional
from options.flags import flags_by_name

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:python|torchrun(?: --\S+)*) ((?:scripts|benchmarks)/\w+\.py)(.*)")
NAMED = re.compile(r"psp ([a-z-]+)(.*)")
FLAG = re.compile(r"(?<![\w-])--[A-Za-z][\w-]*")
PATH = re.compile(r"(?<![\w/.-])(?:stylegan2|psp|datasets|options|scripts|benchmarks|tests|docs)/(?:[\w./]*[\w/])?")
PLACEHOLDER = re.compile(r"\.\.\.|\b[A-Z]+\b|[\[\]]")  # FILE, NAME, [--flag]: to be filled in
OF_OTHERS = {"--nproc_per_node", "--logdir", "--cfg", "--help", "--index_url"}  # the last one is pip's
OF_CLUSTERS = {  # torchrun's and Slurm's
    *("--nnodes", "--rdzv_backend", "--rdzv_endpoint", "--rdzv_id", "--job_name", "--nodes", "--ntasks_per_node"),
    *("--gpus_per_node", "--cpus_per_task", "--max_restarts", "--time", "--signal", "--dependency", "--requeue"),
}
OF_TESTS = {"--kills"}  # of tests/chaos.py
OF_EXAMPLES = {"--hinge_lambda", "--hinge_margin", "--sigma"}  # of docs/examples; tests/test_one_file.py gives them


def code_of(document):
    """List what is set as code: the lines of blocks, without comments, and spans, which may go over two lines."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.partition(" #")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()[1:-1]]
    for block in blocks:
        text = text.replace(block, "")
    return [*lines, *(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text))]


def flags_of(code):
    return {flag.replace("-", "_").replace("__", "--", 1) for flag in FLAG.findall(code)}


def commands_of(document):
    """List (script, the words after it) of all commands, whether they are typed as `python FILE` or as `psp NAME`."""
    code = code_of(document)
    typed = [match.groups() for line in code if (match := COMMAND.search(line))]
    named = [match.groups() for line in code if (match := NAMED.match(line)) and match[1] in BY_NAME]
    return [*typed, *(as_script(name, rest) for name, rest in named)]


def as_script(name, rest):
    """Return the script that `psp NAME` runs, and the words after it as the script takes them."""
    name, words = resolved(name, shlex.split(rest))
    return f"scripts/{BY_NAME[name].script}.py", " " + shlex.join(with_positional(BY_NAME[name], words))


COMMANDS = sorted({command for document in DOCUMENTS for command in commands_of(document)})


def settings_of(script, words):
    """Return what a script hands to `options.parse.run` on a command line: its settings and presets."""
    taken = []

    def take(main, settings, presets=None, shares=False):
        taken.append((settings, presets))
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parse, "run", take)
        patch.setattr(sys, "argv", [script, *words])
        patch.setattr(sys, "path", [str((ROOT / script).parent), *sys.path])
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / script), run_name="__main__")
    return taken[0]


@lru_cache
def known_flags():
    """The flags of all commands together."""
    paths = [*sorted((ROOT / "scripts").glob("[!_]*.py")), *{ROOT / script for script, _ in COMMANDS}]
    settings = [settings_of(str(path.relative_to(ROOT)), [])[0] for path in paths]
    return {flag for of_one in settings for flag in flags_by_name(of_one)}


def test_the_table_of_commands_is_complete():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `psp ([\w-]+)` \| `scripts/(\w+)\.py` \| (.*) \|$", page, re.MULTILINE)
    assert rows == [(name, command.script, command.summary) for name, command in BY_NAME.items()]
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    extras = re.findall(r'^        "(\w+)": \[', setup[setup.index("extras_require") :], re.MULTILINE)
    assert set(extras) <= set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


def test_commands_are_found():
    scripts = {script for script, _ in COMMANDS}
    assert len(COMMANDS) > 30
    assert {"scripts/train_psp.py", "scripts/evaluate_generator.py", "benchmarks/psp.py"} <= scripts


@pytest.mark.parametrize(("script", "rest"), COMMANDS, ids=lambda value: value.strip() or "alone")
def test_a_command_can_be_parsed(script, rest):
    words = shlex.split(rest)
    settings, presets = settings_of(script, words)
    assert flags_of(rest) <= flags_by_name(settings).keys()
    if words and not PLACEHOLDER.search(rest):
        parse.parse(settings, presets, args=words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_flag_is_one(document):
    named = {flag for code in code_of(document) for flag in flags_of(code)}
    assert sorted(named - known_flags() - OF_OTHERS - OF_CLUSTERS - OF_TESTS - OF_EXAMPLES) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_exist(document):
    paths = {match for code in code_of(document) for match in PATH.findall(code)}
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_examples_are_the_files_they_are_said_to_be():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    examples = re.findall(r"\]\((docs/examples/[^)]+)\):\n\n```python\n(.*?)```$", text, re.DOTALL | re.MULTILINE)
    assert len(examples) == 3
    assert [name for name, code in examples if (ROOT / name).read_text(encoding="utf-8") != code] == []


def test_a_mistake_would_be_seen(tmp_path):
    (tmp_path / "page.md").write_text("`--not_a_flag` and\n```\npython scripts/project.py --tarjet a.png  # no\n```\n")
    [(script, rest)] = commands_of(tmp_path / "page.md")
    assert (script, rest.strip()) == ("scripts/project.py", "--tarjet a.png")
    with pytest.raises(AssertionError):
        test_a_command_can_be_parsed(script, rest)
    with pytest.raises(AssertionError):
        test_every_flag_is_one(tmp_path / "page.md")
