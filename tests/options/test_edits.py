"""NAME=STRENGTH."""

import pytest

from options.edits import parse_edits
from stylegan2.runtime.errors import UserError


def test_edits_are_names_and_strengths():
    assert parse_edits(["smile=+2"]) == {"smile": 2.0}
    assert list(parse_edits(["smile=2, yaw=-1.5", "age=1e-1"]).items()) == [("smile", 2), ("yaw", -1.5), ("age", 0.1)]


@pytest.mark.parametrize("words", [["smile"], ["smile="], ["=2"], ["smile=much"], ["smile=nan"], ["smile=inf"], [""]])
def test_other_forms_are_refused(words):
    with pytest.raises(UserError, match=r"such as smile=\+2 or"):
        parse_edits(words)


def test_a_direction_is_given_once():
    with pytest.raises(UserError, match="'smile' is given twice"):
        parse_edits(["smile=1", "smile=2"])
