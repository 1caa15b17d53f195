"""Names that files bring become paths beneath the folder of results, whatever they say."""

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylegan2.runtime.output_names import (
    LONGEST,
    file_name,
    is_safe_path,
    key,
    printable,
    relative_path,
    unique_paths,
)
from tests.hostile import NAMES

texts = st.one_of(
    st.sampled_from(NAMES), st.text(max_size=40), st.lists(st.sampled_from(NAMES), max_size=4).map("/".join)
)


def check(path):
    """A path of ours is relative, without levels upwards, and of parts that Linux, macOS and Windows take."""
    assert not PurePosixPath(path).is_absolute()
    assert not PureWindowsPath(path).anchor
    assert len(path.encode()) < 1100
    for part in path.split("/"):
        assert part not in ("", ".", "..")
        assert len(part.encode()) <= LONGEST + 8  # with a number that makes it unique
        assert not part.startswith(".")
        assert part.strip()
        assert not set(part) & set('<>:"\\|?*')
        assert all(c.isprintable() or c.isspace() or c in "\u200c\u200d" for c in part)
        assert not set(part) & set("\n\r\t\x1b\0\u2028\u202e")
        assert part.partition(".")[0].strip().lower() not in {"con", "prn", "aux", "nul", "com1", "lpt1", "lpt¹"}


@given(st.lists(texts, max_size=12))
def test_paths_are_safe_and_unique(names):
    paths = unique_paths(names)
    for path in paths:
        check(path)
    files = [key(f"{path}.png") for path in paths]
    assert len(set(files)) == len(files)
    assert all(part == part.rstrip(". ") for path in paths for part in path.split("/")[:-1])
    folders = {key(parent.as_posix()) for path in paths for parent in PurePosixPath(path).parents}
    assert not folders & set(files)
    assert paths == unique_paths(names)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_can_be_written_beneath_the_folder(name, tmp_path):
    path = tmp_path / "out" / f"{relative_path(name)}_face1_mix3.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    assert Path(os.path.realpath(path)).is_relative_to(tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/x", "a/x"),
        ("Büro 2024-01-01 (1)", "Büro 2024-01-01 (1)"),
        ("日本語/名前", "日本語/名前"),
        ("/etc/../x", "etc/x"),
        ("../../x", "x"),
        ("..\\x", "_._x"),
        ("a:b?", "a_b_"),
        ("con", "_con"),
        ("e\u0301", "e\u0301"),
        ("a./b .", "a/b ."),
        ("Bildschirmfoto 10.00\u202fAM", "Bildschirmfoto 10.00\u202fAM"),
        ("", "_"),
    ],
)
def test_names_stay_readable(text, expected):
    assert relative_path(text) == expected


def test_one_part_has_no_levels():
    assert file_name("../a/b") == "_._a_b"


def test_long_names_that_differ_at_their_end_stay_apart():
    a, b = file_name("x" * 300 + "a"), file_name("x" * 300 + "b")
    assert a != b
    assert len(a) == LONGEST
    assert a.startswith("x" * 100)


def test_case_and_spelling_make_no_two_names():
    assert unique_paths(["a", "A", "é", "e\u0301"]) == ["a", "A_2", "é", "e\u0301_2"]
    assert unique_paths(["b", "b.png/x"]) == ["b_2", "b.png/x"]
    assert unique_paths(["a", "a.png"], endings=("", ".png")) == ["a", "a.png_2"]
    assert unique_paths(["a"], reserved=["A.png"]) == ["a_2"]


def test_many_equal_names_take_linear_time():
    paths = unique_paths(["a"] * 100_000)
    assert (paths[1], paths[-1]) == ("a_2", "a_100000")


def test_a_terminal_is_not_steered():
    assert printable("a\x1b[31m\u202eb\udce9 é") == "a\\x1b[31m\\u202eb\\udce9 é"
    assert len(printable("x" * 10_000)) == 2000


@given(st.text(max_size=400))
def test_a_path_stays_safe_with_the_endings_that_commands_add(text):
    path = relative_path(text)
    assert is_safe_path(path)
    assert is_safe_path(f"{path}_2_face12_mix3.png")


@pytest.mark.parametrize(
    "text",
    ["", "/etc/x.png", "../x.png", "a/../x.png", "a//x.png", ".x.png", "con.png", "a\\x.png", "x" * 256, "a\n.png"],
)
def test_a_path_that_was_not_made_here_is_not_safe(text):
    assert not is_safe_path(text)
