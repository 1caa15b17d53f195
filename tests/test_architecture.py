"""The rules of the architecture that a program can check; docs/architecture.md gives the reasons."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("stylegan2", "psp", "datasets", "options", "scripts")
MODULES = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
LIBRARY = [path for path in MODULES if path.parts[0] in ("stylegan2", "psp")]


def read(module):
    return (ROOT / module).read_text(encoding="utf-8")


def lint_imports(folder):
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_imports_go_one_way():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 kept, 0 broken" in result.stdout


def test_an_import_the_other_way_would_be_seen(tmp_path):
    (tmp_path / "pyproject.toml").write_text(read("pyproject.toml"))
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "scripts" / "train.py").write_text("import datasets.folder\nimport options\nimport psp\n")
    (tmp_path / "datasets" / "folder.py").write_text("import psp\nimport stylegan2\n")
    assert lint_imports(tmp_path).returncode == 0
    (tmp_path / "stylegan2" / "trainer.py").write_text("import psp\n")
    assert lint_imports(tmp_path).returncode != 0
    (tmp_path / "stylegan2" / "trainer.py").unlink()
    networks = tmp_path / "stylegan2" / "networks"
    networks.mkdir()
    for name in ("__init__", "stylegan", "pggan"):
        (networks / f"{name}.py").write_text("")
    assert lint_imports(tmp_path).returncode == 0
    (networks / "pggan.py").write_text("import stylegan2.networks.stylegan\n")
    assert lint_imports(tmp_path).returncode != 0


def test_modules_say_what_they_are():
    sources = {module: read(module) for module in MODULES}
    assert [
        name for name, source in sources.items() if source.strip() and not ast.get_docstring(ast.parse(source))
    ] == []


@pytest.mark.parametrize(
    ("modules", "pattern"),
    [
        # Devices come from arguments, settings from the application.
        ([m for m in LIBRARY if m.name != "device.py"], r"\.cuda\(|\.to\(\s*[\"'](cuda|mps)|device=[\"'](cuda|mps)"),
        (LIBRARY, r"ArgumentParser|\bimport tyro\b|\bfrom tyro\b|\bsys\.argv\b"),
        (MODULES, r"raise NotImplementedError"),  # what else is left undone, ruff finds
        # Pickles of others are programs: stylegan2.convert.safe reads them without running them.
        (MODULES, r"pickle\.load\(|torch\.load\((?!.*weights_only=True)"),
    ],
    ids=["devices", "command line", "undone", "pickles"],
)
def test_forbidden_words(modules, pattern):
    assert [module for module in modules if re.search(pattern, read(module))] == []


COMMANDS = sorted((ROOT / "scripts").glob("[!_]*.py"))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_every_command_begins_with_what_comes_before_all_imports(path):
    imports = [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"(from|import) ", line)]
    assert imports[0].startswith("import _start")
    assert not any("sys.path" in line for line in path.read_text(encoding="utf-8").splitlines())
