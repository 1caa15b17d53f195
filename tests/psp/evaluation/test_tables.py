"""Tables, and the picture."""

import numpy as np

from psp.evaluation.tables import sheet, table, tables

TITLES = {"mse": "mse", "perceptual": "perceptual (effnet)", "seconds_per_image": "seconds per image"}


def measured(*mse, seconds=0.5):
    values = {"mse": np.array(mse), "perceptual": np.array(mse) * 2}
    return {**values, "seconds_per_image": np.full(len(mse), seconds)}


def test_the_table_names_the_networks():
    results = {
        "mean face": {"mse": 0.25, "perceptual": 1.0, "seconds_per_image": 0.0},
        "encoder": {"mse": 0.12345, "perceptual": 0.5, "seconds_per_image": 0.01},
    }
    assert table(results, TITLES) == (
        "| method | mse | perceptual (effnet) | seconds per image |\n"
        "|---|---|---|---|\n"
        "| mean face | 0.2500 | 1.0000 | 0.0000 |\n"
        "| encoder | 0.1235 | 0.5000 | 0.0100 |\n"
    )


def test_one_group_is_one_table():
    numbers, text = tables({"all": {"a": measured(1, 2, 3)}}, TITLES)
    assert numbers == {"results": {"a": {"mse": 2.0, "perceptual": 4.0, "seconds_per_image": 0.5}}}
    assert text == table(numbers["results"], TITLES)


def test_groups_are_measured_by_themselves_and_together():
    groups = {"yaw 0": {"a": measured(1), "b": measured(0)}, "yaw 45": {"a": measured(2, 6), "b": measured(0, 3)}}
    numbers, text = tables(groups, TITLES)
    assert {name: values["mse"] for name, values in numbers["results"].items()} == {"a": 3.0, "b": 1.0}
    assert numbers["groups"]["yaw 45"]["a"]["mse"] == 4.0
    assert [line for line in text.splitlines() if line.startswith("**")] == ["**all**", "**yaw 0**", "**yaw 45**"]
    assert "| a | 4.0000 | 8.0000 | 0.5000 |" in text


def test_a_row_that_is_not_everywhere_yet_has_no_mean():
    groups = {"yaw 0": {"a": measured(1), "b": measured(0)}, "yaw 45": {"a": measured(3)}}
    numbers, text = tables(groups, TITLES)
    assert list(numbers["results"]) == ["a"]
    assert numbers["results"]["a"]["mse"] == 2.0
    assert "**yaw 45**" in text


def test_pictures_stand_in_rows_beside_their_names():
    red = np.broadcast_to(np.array([255, 0, 0], np.uint8), (3, 16, 16, 3))
    picture = sheet({"a": red, "b": 255 - red})
    assert picture.shape[0] == 2 * 128
    assert (picture[10, -3 * 128 :] == (255, 0, 0)).all()
    assert (picture[140, -3 * 128 :] == (0, 255, 255)).all()
