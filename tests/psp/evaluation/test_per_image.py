"""Values on disk: never taken for others, and written now and then."""

import numpy as np
import pytest
import torch

from psp.evaluation.per_image import PerImageValues, slug
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
