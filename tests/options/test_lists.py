"""Lists on the command line: seeds, numbers and edits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from options.lists import parse_edits, parse_numbers, parse_seeds
from stylegan2.runtime.errors import UserError


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-3", [0, 1, 2, 3]), ("7", [7]), ("5, 1,9-10", [5, 1, 9, 10]), ("2,2", [2, 2])]
)
def test_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 30)), min_size=1, max_size=5))
def test_what_is_written_is_read(parts):
    text = ",".join(f"{first}-{first + more}" if more else str(first) for first, more in parts)
    assert parse_seeds(text) == [n for first, more in parts for n in range(first, first + more + 1)]


@pytest.mark.parametrize("text", ["", "a", "3-1", "-3", "1,,2", "1-", "1.5", "٣", "9" * 30])
def test_what_means_nothing_is_one_sentence(text):
    with pytest.raises(UserError, match="--styles must be whole numbers of at most 18 digits or ranges"):
        parse_seeds(text, "--styles")


@pytest.mark.parametrize("text", ["0-100000", "0-99999,5", "0-999999999999999999"])
def test_too_many_seeds_are_one_sentence(text):
    with pytest.raises(UserError, match="--seeds contains more than 100000 seeds"):
        parse_seeds(text)
    assert len(parse_seeds("0-99999")) == 100_000


@given(st.text(alphabet="0123456789-, .e", max_size=12))
def test_any_text_is_seeds_or_a_user_error(text):
    try:
        seeds = parse_seeds(text)
    except UserError:
        return
    assert seeds
    assert min(seeds) >= 0


def test_numbers():
    assert parse_numbers("-3, 0,2.5,1e1", "--strengths") == [-3, 0, 2.5, 10]
    for text in ("", "a", "1,,2", "nan", "1,inf"):
        with pytest.raises(UserError, match="--strengths must be numbers separated by commas"):
            parse_numbers(text, "--strengths")


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
