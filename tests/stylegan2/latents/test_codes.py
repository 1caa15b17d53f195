"""The file of codes: NumPy reads it, and what is no such file is one sentence."""

import numpy as np
import pytest
import torch

from stylegan2.latents.codes import load_codes, save_codes
from stylegan2.runtime.errors import UserError


def test_codes_come_back(tmp_path):
    w_plus = torch.randn(2, 6, 8)
    save_codes(tmp_path / "new" / "latents.npz", ["a/b", "ü"], w_plus)
    names, loaded, _ = load_codes(tmp_path / "new" / "latents.npz", 6, 8)
    assert names == ["a/b", "ü"]
    assert torch.equal(loaded, w_plus)
    with np.load(tmp_path / "new" / "latents.npz") as stored:
        assert stored["w_plus"].dtype == np.float32


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no file"),
        (b"no archive", "no file of codes"),
        ({"names": ["a"]}, "no file of codes"),
        ({"names": ["a"], "w_plus": np.array([object()])}, "it has an array of object"),
        ({"names": ["a", "b"], "w_plus": np.zeros((1, 6, 8))}, r"w_plus is float64 \[1, 6, 8\]"),
        ({"names": ["a"], "w_plus": np.full((1, 6, 8), np.nan)}, "no file of codes: w_plus is"),
        ({"names": ["a"], "w_plus": np.zeros((1, 18, 512))}, "18 rows of 512 numbers, but this generator takes 6 of 8"),
    ],
)
def test_another_file_is_one_sentence(tmp_path, content, words):
    path = tmp_path / "latents.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises(UserError, match=words):
        load_codes(path, 6, 8)


def test_a_disk_that_refuses_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        save_codes(tmp_path / "file" / "latents.npz", ["a"], torch.zeros(1, 2, 3))
