"""Modules read as text: which definitions they hold and what their constants are, without running them.

Running the file of a network or a loss imports PyTorch, which takes seconds; a command line is to be read in a moment.
"""

import ast
import builtins
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

Definition = ast.ClassDef | ast.FunctionDef
RUN = ("annotated_types", "datasets.setting", "stylegan2.runtime.ranges")
"""Modules that describe settings; running them costs nothing."""


class UnreadableError(Exception):
    """What a file says depends on running it."""


@dataclass(frozen=True)
class Source:
    """A module's text, parsed."""

    name: str
    """dotted"""
    definitions: Mapping[str, Definition]
    constants: Mapping[str, ast.expr]
    imports: Mapping[str, tuple[str, str]]
    """{name here: (module, name there)}; the name there is "" for a module itself"""
    known: dict[str, Any] = field(default_factory=dict)
    """values of names that were asked for"""

    def value(self, name: str) -> Any:
        """Return what a name stands for; a class or function of the file is its `Definition`.

        Raises:
            UnreadableError: The file would have to be run.
        """
        if name not in self.known:
            self.known[name] = self._find(name)
        return self.known[name]

    def evaluate(self, expression: ast.expr) -> Any:
        """Return the value of an expression of this file. UnreadableError: the file would have to be run."""
        try:
            return eval(compile(ast.Expression(expression), self.name, "eval"), {"__builtins__": {}}, _Names(self))
        except UnreadableError:
            raise
        except Exception as error:  # whatever an expression may raise on definitions in the place of their values
            raise UnreadableError(f"{self.name}: {ast.unparse(expression)}: {error}") from error

    def _find(self, name: str) -> Any:
        if name in self.definitions:
            return self.definitions[name]
        if name in self.constants:
            return self.evaluate(self.constants[name])
        if name in self.imports:
            return _imported(*self.imports[name])
        if hasattr(builtins, name):
            return getattr(builtins, name)
        raise UnreadableError(f"{self.name}: {name} is not known before the file is run")


class _Names(dict):
    """The names of a file, for `eval`."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def __missing__(self, name: str) -> Any:
        return self.source.value(name)


def _imported(module: str, name: str) -> Any:
    """Return what `from module import name` gives, or the module where the name is ""."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or module in RUN:
        found = importlib.import_module(module)
        return getattr(found, name) if name else found
    if not name:
        raise UnreadableError(f"the module {module} is not known before it is run")
    return read_source(module).value(name)


@lru_cache
def read_source(name: str) -> Source:
    """Parse a module by its dotted name. UnreadableError: there is no such file of Python."""
    path = find_module(name)
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    imports = dict(pair for node in tree.body for pair in _names_of_import(node, name))
    constants = dict(pair for node in tree.body for pair in _assigned(node))
    definitions = {node.name: node for node in tree.body if isinstance(node, Definition)}
    return Source(name, definitions, constants, imports)


def find_module(name: str) -> Path:
    """Return the file of a module without importing the packages that it is in. UnreadableError: there is none."""
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    for folder in spec.submodule_search_locations or [] if spec else []:
        path = Path(folder, *rest)
        for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if candidate.is_file():
                return candidate
    raise UnreadableError(f"there is no file of the module {name}")


def modules_with(text: str, package: str) -> list[str]:
    """Return the dotted names of a package's own modules whose files have some text, in alphabetical order."""
    files = sorted(find_module(package).parent.glob("*.py"))
    return [f"{package}.{file.stem}" for file in files if text in file.read_text(encoding="utf-8")]


def _names_of_import(node: ast.stmt, module: str) -> Iterator[tuple[str, tuple[str, str]]]:
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        for alias in node.names:
            yield alias.asname or alias.name, (node.module, alias.name)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0], (alias.name, "")


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """Yield (name, expression) of `NAME = ...` and `NAME: type = ...`."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        yield node.target.id, node.value
