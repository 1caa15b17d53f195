"""The file of codes: NumPy reads it, and what is no such file is one sentence."""

import numpy as np
import pytest
import torch

from stylegan2.latents.codes import CodesWriter, load_codes, save_codes
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
        (b"no archive", "not a file of codes"),
        ({"names": ["a"]}, "not a file of codes"),
        ({"names": ["a"], "w_plus": np.array([object()])}, "it has an array of object"),
        ({"names": ["a", "b"], "w_plus": np.zeros((1, 6, 8))}, r"w_plus is float64 \[1, 6, 8\]"),
        ({"names": ["a"], "w_plus": np.full((1, 6, 8), np.nan)}, "the codes of 'a' are not finite numbers"),
        ({"names": ["a"], "w_plus": np.full((1, 6, 8), 1e300)}, "the codes of 'a' are not finite numbers"),
        (
            {"names": ["a"], "w_plus": np.zeros((1, 18, 512))},
            "18 rows of 512 numbers, but this generator takes 6 rows of 8",
        ),
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


def test_codes_that_come_one_by_one_make_the_same_file(tmp_path):
    names, w_plus, features = ["a", "bb", "c"], torch.randn(3, 4, 5), torch.randn(3, 2, 3, 3)
    save_codes(tmp_path / "whole.npz", names, w_plus, features)
    with CodesWriter(tmp_path / "parts.npz") as writer:
        for n, name in enumerate(names):
            writer.append([name], w_plus[n : n + 1], features[n : n + 1])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["whole.npz"]
        writer.write()
    whole, parts = (load_codes(tmp_path / f"{name}.npz", 4, 5) for name in ("whole", "parts"))
    assert whole[0] == parts[0] == names
    assert torch.equal(whole[1], parts[1])
    assert torch.equal(whole[1], w_plus)
    assert torch.equal(whole[2], parts[2])
    assert torch.equal(whole[2], features.half().float())


def test_a_file_may_hold_no_codes(tmp_path):
    with CodesWriter(tmp_path / "none.npz", (4, 5)) as writer:
        writer.write()
    names, w_plus, features = load_codes(tmp_path / "none.npz", 4, 5)
    assert (names, w_plus.shape, features) == ([], (0, 4, 5), None)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("of", ["w_plus", "features"])
def test_codes_that_are_not_finite_are_named_and_the_others_are_read(tmp_path, of, bad):
    arrays = {"w_plus": np.zeros((3, 6, 8)), "features": np.ones((3, 2, 4, 4))}
    arrays["w_plus"][2] = 2
    arrays[of][1].flat[5] = bad
    np.savez(tmp_path / "latents.npz", names=["a", "b", "c"], **arrays)
    refused = {}
    names, w_plus, features = load_codes(tmp_path / "latents.npz", 6, 8, refused)
    assert (names, list(refused)) == (["a", "c"], ["b"])
    assert "the codes of 'b' in" in refused["b"]
    assert w_plus[:, 0, 0].tolist() == [0, 2]
    assert features.shape == (2, 2, 4, 4)
    with pytest.raises(UserError, match="the codes of 'b' are not finite"):
        load_codes(tmp_path / "latents.npz", 6, 8)
