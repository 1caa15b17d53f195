"""Reports: JSON that reads back, and a table with the network beside every number."""

import json

from stylegan2.metrics.results import Result, as_json, as_markdown, fewer

RESULTS = {
    "fd_effnet": Result({"fd_effnet": 12.345}, 500, "the paper's", ("fewer",), "EfficientNet-Lite0", {"real": 3}, 7.2),
    "separability": Result({"separability_w": 2.0, "separability_z": 4.0}, 20, "the other paper's"),
}


def test_json_reads_back():
    found = json.loads(as_json(RESULTS, {"generator": "g", "seed": 1}))
    assert found["seed"] == 1
    assert found["results"]["fd_effnet"]["values"] == {"fd_effnet": 12.345}
    assert found["results"]["fd_effnet"]["departures"] == ["fewer"]


def test_the_table_has_a_row_for_each_number_and_a_note_for_each_measure():
    lines = as_markdown(RESULTS, {"generator": "g"}).splitlines()
    assert "| fd_effnet | 12.35 | 500 | EfficientNet-Lite0 | 7 |" in lines
    assert "| separability_z | 4 | 20 | - | 0 |" in lines
    assert lines[-7:] == [
        "- fd_effnet: the paper's.", "- separability: the other paper's.", "", "Differences from the protocols:", "",
        "- fd_effnet: fewer.", "- separability: as in the protocol.",
    ]  # fmt: skip


def test_no_sentence_stands_twice_in_the_notes():
    shared = {name: Result({name: 1.0}, 9, "a long protocol", ("fewer", f"no {name}")) for name in ("fd", "kd")}
    lines = as_markdown(shared, {}).splitlines()
    assert lines[-7:] == [
        "- fd, kd: a long protocol.", "", "Differences from the protocols:", "", "- fd, kd: fewer.", "- fd: no fd.",
        "- kd: no kd.",
    ]  # fmt: skip


def test_another_number_of_samples_is_a_departure():
    assert fewer(50_000, 50_000) == ()
    assert fewer(5_000, 50_000) == ("5,000 samples instead of 50,000",)
