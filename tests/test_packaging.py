"""The files that a package index and a forge read: requirements, citation, changelog, templates and hooks."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import psp

ROOT = Path(__file__).resolve().parents[1]
OURS = {"psp", "stylegan2", "datasets", "options", "scripts", "_start"}
OPTIONAL = {"triton"}  # comes with PyTorch where there are GPUs


def setup_arguments():
    """Return the keyword arguments of `setup` that are literals."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    [call] = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "setup"]
    arguments = {}
    for keyword in call.keywords:
        try:
            arguments[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            continue
    return arguments


def normalised(requirement):
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


def imported_packages():
    """{top-level module: a file that imports it} of what is in the wheel."""
    imported = {}
    for folder in sorted(OURS - {"_start"}):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
                imported |= {name.partition(".")[0]: path.relative_to(ROOT) for name in names}
    return {name: path for name, path in imported.items() if name not in sys.stdlib_module_names | OURS | OPTIONAL}


def test_every_imported_package_is_declared():
    arguments = setup_arguments()
    extras = [entry for name, entries in arguments["extras_require"].items() if name != "dev" for entry in entries]
    declared = {normalised(entry) for entry in (*arguments["install_requires"], *extras)}
    distributions = importlib.metadata.packages_distributions()
    undeclared = {
        name: str(path)
        for name, path in imported_packages().items()
        if not {normalised(distribution) for distribution in distributions.get(name, [name])} & declared
    }
    assert undeclared == {}


def test_every_requirement_of_development_is_pinned():
    arguments = setup_arguments()
    installed = (arguments["extras_require"][name] for name in ("dev", "docs"))  # by `make install`
    wanted = {normalised(entry) for entries in (arguments["install_requires"], *installed) for entry in entries}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {normalised(line) for line in lines if "==" in line and not line.startswith("#")}
    assert sorted(wanted - pinned) == []


def test_the_index_page():
    arguments = setup_arguments()
    assert arguments["name"] == "psp-translate"
    assert {"Typing :: Typed", "Programming Language :: Python :: 3.10"} <= set(arguments["classifiers"])
    assert (ROOT / "psp" / "py.typed").is_file()
    assert (ROOT / "stylegan2" / "py.typed").is_file()


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == psp.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    changes = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert changes[0] == "Unreleased" or changes[0].startswith(psp.__version__)


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*_*.yml")), ids=lambda path: path.stem
)
def test_issue_templates(path):
    """The templates fulfil GitHub's schema for issue forms."""
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    assert {entry["type"] for entry in form["body"]} <= {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    identifiers = [entry["id"] for entry in form["body"]]
    assert len(set(identifiers)) == len(identifiers)
    assert all(entry["attributes"]["label"] for entry in form["body"])


def test_hooks_are_valid_and_installed():
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", ROOT / ".pre-commit-config.yaml"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}  # the tools of `make install`: nothing is downloaded
