"""Values on disk: never taken for others, and written now and then."""

import numpy as np
import pytest
import torch

from psp.evaluation.per_image import PerImageValues, sheet, slug, table, tables
from stylegan2.runtime.errors import UserError

NO_PICTURES = np.zeros((0, 4, 4, 3), np.uint8)


def test_a_file_of_another_key_is_not_believed(tmp_path):
    first = PerImageValues(tmp_path, "a", {"x": 1})
    first.add({"mse": torch.ones(2)}, NO_PICTURES)
    first.save()
    second = PerImageValues(tmp_path, "a", {"x": 2})
    first.path.rename(second.path)
    assert PerImageValues(tmp_path, "a", {"x": 1}).count == 0
    assert PerImageValues(tmp_path, "a", {"x": 2}).count == 0


def test_fast_methods_do_not_write_after_each_batch(tmp_path):
    values = PerImageValues(tmp_path, "a", {})
    values.add({"mse": torch.ones(2)}, NO_PICTURES)
    assert not values.path.exists()
    values._saved_at -= 60
    values.add({"mse": torch.ones(2)}, NO_PICTURES)
    assert PerImageValues(tmp_path, "a", {}).count == 4


def test_a_disk_that_refuses_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    values = PerImageValues(tmp_path / "file", "a", {})
    values.add({"mse": torch.ones(2)}, NO_PICTURES)
    with pytest.raises(UserError, match="cannot write"):
        values.save()


def test_the_first_values_and_an_interrupted_block(tmp_path):
    with pytest.raises(KeyboardInterrupt), PerImageValues(tmp_path, "a", {}) as values:
        values.add({"mse": torch.arange(3.0), "union": torch.ones(3, 2)}, NO_PICTURES)
        raise KeyboardInterrupt
    again = PerImageValues(tmp_path, "a", {})
    assert {name: value.shape for name, value in again.first(2).items()} == {"mse": (2,), "union": (2, 2)}
    assert again.first(2)["mse"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("W+ optimisation, 500 steps", "w_plus_optimisation_500_steps"), ("pSp (light)", "psp_light"), ("日", "unnamed")],
)
def test_names_of_files(name, expected):
    assert slug(name) == expected


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
