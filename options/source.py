"""Reading the definitions and constants of modules from their text, without importing them.

Importing the file of a network or a loss imports PyTorch, which takes seconds, but a command line should be parsed at
once.
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
RUNTIME_MODULES = ("annotated_types", "datasets.setting", "stylegan2.runtime.ranges")
"""modules that describe settings and are cheap to import"""


class UnreadableError(Exception):
    """A value of a file that cannot be known without importing the file."""


@dataclass(frozen=True)
class Source:
    """The parsed text of a module."""

    name: str
    """dotted name"""
    definitions: Mapping[str, Definition]
    constants: Mapping[str, ast.expr]
    imports: Mapping[str, tuple[str, str]]
    """{name in this file: (module, name in the module)}; the latter is "" for an imported module"""
    known: dict[str, object] = field(default_factory=dict)
    """cache of values"""

    def value(self, name: str) -> object:
        """Return the value of a name; for a class or function of the file, its `Definition`.

        Raises:
            UnreadableError: The file would have to be imported.
        """
        if name not in self.known:
            self.known[name] = self._find(name)
        return self.known[name]

    def evaluate(self, expression: ast.expr) -> object:
        """Return the value of an expression of this file.

        Raises:
            UnreadableError: The file would have to be imported.
        """
        try:
            return eval(compile(ast.Expression(expression), self.name, "eval"), {"__builtins__": {}}, _Names(self))
        except UnreadableError:
            raise
        except Exception as error:  # an expression may raise anything, because some names have no real values here
            raise UnreadableError(f"{self.name}: {ast.unparse(expression)}: {error}") from error

    def _find(self, name: str) -> object:
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
    """The namespace of a file for `eval`."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def __missing__(self, name: str) -> object:
        return self.source.value(name)


def _imported(module: str, name: str) -> Any:
    """Return the value that `from module import name` imports, or the module if the name is ""."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or module in RUNTIME_MODULES:
        imported = importlib.import_module(module)
        return getattr(imported, name) if name else imported
    if not name:
        raise UnreadableError(f"the module {module} is not known before it is run")
    return read_source(module).value(name)


@lru_cache
def read_source(name: str) -> Source:
    """Parse a module by its dotted name.

    Raises:
        UnreadableError: There is no such Python file.
    """
    path = find_module(name)
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    imports = dict(pair for node in tree.body for pair in _names_of_import(node, name))
    constants = dict(pair for node in tree.body for pair in _assigned(node))
    definitions = {node.name: node for node in tree.body if isinstance(node, Definition)}
    return Source(name, definitions, constants, imports)


def find_module(name: str) -> Path:
    """Return the file of a module, without importing its packages.

    Raises:
        UnreadableError: There is no such file.
    """
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    for folder in spec.submodule_search_locations or [] if spec else []:
        path = Path(folder, *rest)
        for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if candidate.is_file():
                return candidate
    raise UnreadableError(f"there is no file of the module {name}")


def modules_with(text: str, package: str) -> list[str]:
    """Return the dotted names, sorted, of the modules directly in a package whose files contain a text."""
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
    """Yield (name, expression) for a statement `NAME = ...` or `NAME: type = ...`."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        yield node.target.id, node.value
