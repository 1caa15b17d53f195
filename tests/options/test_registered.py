"""Settings of parts that are read from source files equal those of the imported parts."""

import math
import sys

import pytest

from datasets.tasks import TASKS
from options import registered
from options.registered import Parameter, parameters, read_parts
from options.source import UnreadableError, find_module, read_source
from psp.losses import LOSSES
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS

REGISTRIES = {
    "register_loss": LOSSES,
    "register_task": TASKS,
    "GENERATORS.register": GENERATORS,
    "DISCRIMINATORS.register": DISCRIMINATORS,
}

PARTS = '''
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from more.base import Base, LARGEST

Kind = Literal["a", "b"]
SMALL: float = math.pi / 2


@register("fields")
@dataclass(frozen=True)
class Fields:
    """Have fields.

    Args:
        size: Pixels of a side.
    """

    shared: ClassVar[int] = 3
    required: int
    size: int = LARGEST
    """of no use"""
    kind: Kind = "b"
    """ONNX's kind."""
    file: Path | None = field(default=None, metadata={"only": "training"})


@register("inherited", 5)
class Inherited(Base):
    """Inherit a constructor."""


@register("function")
def build(a, b: float = SMALL, *, c: bool = True):
    """Build something: it is a function."""


@register("run")
class Run:
    """Compute a default by running."""

    def __init__(self, size: int = len(sys.argv) * 0 + max_size()) -> None:
        pass
'''

RUN = "def max_size():\n    return 7\n\n\ndef register(*names):\n    return lambda part: part\n"
BASE = """
LARGEST = len("seven--")


class Base:
    def __init__(self, width: int, depth: int = 2) -> None:
        pass
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Provide a package whose files have never been imported."""
    (tmp_path / "more").mkdir()
    for name, text in (("__init__", ""), ("base", BASE), ("helpers", RUN)):
        (tmp_path / "more" / f"{name}.py").write_text(text)
    parts = PARTS.replace("from more.base", "from more.helpers import max_size, register\nfrom more.base")
    (tmp_path / "more" / "parts.py").write_text(parts)
    monkeypatch.syspath_prepend(tmp_path)
    yield "more"
    for name in [name for name in sys.modules if name.partition(".")[0] == "more"]:
        del sys.modules[name]
    read_parts.cache_clear()
    read_source.cache_clear()


@pytest.mark.parametrize("decorator", REGISTRIES)
def test_they_are_those_of_the_imported_parts(decorator):
    registry = REGISTRIES[decorator]
    read = read_parts(registry.package, decorator)
    assert list(read) == registry.names()
    assert {name: list(part.parameters) for name, part in read.items()} == {
        name: parameters(registry[name]) for name in registry.names()
    }


@pytest.mark.parametrize("decorator", REGISTRIES)
def test_no_file_of_ours_has_to_be_run(decorator, monkeypatch):
    """A file that has to be imported would import PyTorch, which takes seconds."""
    monkeypatch.setattr(registered, "parameters", lambda builder: pytest.fail(f"the file of {builder} was run"))
    read_parts.cache_clear()
    read_source.cache_clear()
    assert read_parts(REGISTRIES[decorator].package, decorator)


def test_fields_arguments_and_what_is_inherited(package):
    parts = read_parts(package, "register")
    kind = parts["fields"].parameters[1].type
    assert parts["fields"].parameters == (
        Parameter("size", int, 7, "pixels of a side"),
        Parameter("kind", kind, "b", "ONNX's kind"),
        Parameter("file", parts["fields"].parameters[2].type, None, "", {"only": "training"}),
    )
    assert kind.__args__ == ("a", "b")
    assert (parts["inherited"].parameters, parts["inherited"].registration) == ((Parameter("depth", int, 2, ""),), (5,))
    assert {p.name: p.default for p in parts["function"].parameters} == {"b": pytest.approx(math.pi / 2), "c": True}
    assert parts["function"].summary == "build something: it is a function"


def test_a_default_that_is_computed_by_running_is_imported(package):
    [parameter] = read_parts(package, "register")["run"].parameters
    assert (parameter.name, parameter.default) == ("size", 7)


def test_modules_that_are_not_there():
    with pytest.raises(UnreadableError, match=r"no file of the module nowhere\.at_all"):
        find_module("nowhere.at_all")
    with pytest.raises(UnreadableError, match="no file of the module math"):
        find_module("math")
