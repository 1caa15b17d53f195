"""Parts by name: one file each, found by importing a package."""

import copy
import sys
from dataclasses import dataclass

import pytest

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import built_as

PART = """
from shapes_registry import SHAPES

@SHAPES.register("square")
class Square:
    def __init__(self, side: float, colour: str = "red") -> None:
        self.side = side
"""


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A registry whose package has one file."""
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "__init__.py").write_text("")
    (tmp_path / "shapes" / "square.py").write_text(PART)
    (tmp_path / "shapes_registry.py").write_text(
        "from stylegan2.runtime.registry import Registry\nSHAPES = Registry('shape', 'shapes')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import shapes_registry  # type: ignore[import-not-found]

    yield shapes_registry.SHAPES
    for name in ("shapes", "shapes.square", "shapes_registry"):
        sys.modules.pop(name, None)


def test_a_file_of_the_package_is_found(shapes):
    assert shapes.names() == ["square"]
    assert "square" in shapes


def test_a_part_remembers_name_and_all_settings(shapes):
    square = shapes.build("square", side=2.0)
    assert built_as(square) == {"name": "square", "side": 2.0, "colour": "red"}
    assert built_as(copy.deepcopy(square)) == built_as(square)


def test_a_part_that_python_code_builds_remembers_too(shapes):
    square = shapes["square"]
    assert built_as(square(2.0, colour="blue")) == {"name": "square", "side": 2.0, "colour": "blue"}

    class Cube(square):
        pass

    with pytest.raises(ValueError, match="Cube was not built by a registry"):
        built_as(Cube(2.0))


def test_a_frozen_dataclass_remembers_too(shapes):
    @shapes.register("circle")
    @dataclass(frozen=True)
    class Circle:
        radius: float = 1.0

    assert built_as(shapes.build("circle", radius=3.0)) == {"name": "circle", "radius": 3.0}


def test_a_part_that_no_registry_built_has_no_name():
    with pytest.raises(ValueError, match="not built by a registry"):
        built_as(object())


def test_an_unknown_name_is_answered_with_the_known_ones(shapes):
    with pytest.raises(UserError, match="there is no shape called 'cube'; there are square"):
        shapes.build("cube")


def test_an_unknown_setting_is_answered_with_the_known_ones(shapes):
    with pytest.raises(UserError, match=r"the shape square .*'edge'; its settings are side, colour"):
        shapes.build("square", side=1.0, edge=2.0)


def test_a_name_is_given_once(shapes):
    shapes.names()
    with pytest.raises(ValueError, match="the shape 'square' is registered twice"):
        shapes.register("square")(object)
