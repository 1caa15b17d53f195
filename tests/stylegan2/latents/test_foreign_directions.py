"""Directions as InterFaceGAN, GANSpace and SeFa store them, and files that are none or would do harm."""

import os
import pickle

import numpy as np
import pytest
import torch

from stylegan2.latents.directions import build_directions, fingerprints, save_directions
from stylegan2.latents.foreign_directions import SAMPLES, read_directions
from stylegan2.latents.sampling import random_w
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import CheckpointError, UserError

W_DIM = 8


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    sizes = {"z_dim": W_DIM, "w_dim": W_DIM, "channel_base": 256, "channel_max": 16, "mapping_layers": 2}
    return GENERATORS.build("stylegan2", 16, **sizes).eval().requires_grad_(False)


@pytest.fixture
def rows():
    return torch.nn.functional.normalize(torch.randn(3, W_DIM), dim=1)


def ganspace(rows):
    """What GANSpace stores, [K, 1, w_dim] among other arrays and settings."""
    other = {"lat_mean": np.zeros((1, W_DIM), np.float32), "lat_stdev": np.ones(3, np.float32), "layer": "style"}
    return {"lat_comp": 2.5 * rows.numpy()[:, None], "var_ratio": np.float64(0.5), **other}


def write(path, rows):
    """Write rows as each project does; they need not be of unit length."""
    if path.name == "age.npy":
        np.save(path, 3 * rows[:1].numpy())
    elif path.name == "age.pt":
        torch.save(3 * rows[0], path)
    elif path.name == "sefa.pt":
        torch.save({"ckpt": "stylegan2.pt", "eigvec": rows.T.contiguous()}, path)
    elif path.name == "pca.pt":
        torch.save({"comp": rows[:, None], "mean": torch.zeros(W_DIM), "std": torch.ones(3)}, path)
    elif path.name == "pca.npz":
        np.savez(path, **{name: value for name, value in ganspace(rows).items() if name != "layer"})
    else:
        protocol = int(path.stem[-1])
        path.write_bytes(pickle.dumps(ganspace(rows), protocol=protocol))


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("age.npy", ("age",)),
        ("age.pt", ("age",)),
        ("sefa.pt", ("sefa0", "sefa1", "sefa2")),
        ("pca.pt", ("pca0", "pca1", "pca2")),
        ("pca.npz", ("pca0", "pca1", "pca2")),
        *((f"p{protocol}.pkl", tuple(f"p{protocol}{k}" for k in range(3))) for protocol in (2, 3, 4, 5)),
    ],
)
def test_every_projects_file_gives_its_vectors(tmp_path, generator, rows, file, names):
    write(tmp_path / file, rows)
    found = read_directions(tmp_path / file, generator)
    assert found.names == names
    torch.testing.assert_close(found.vectors, rows[: len(names)])
    w = random_w(generator, SAMPLES, seed=0)
    torch.testing.assert_close(found.scales, (w @ found.vectors.T).std(0, correction=0))
    assert found.rows == tuple(range(generator.num_ws))
    assert found.fingerprints == ()
    assert read_directions(tmp_path / file, generator, rows=[1, 2]).rows == (1, 2)


def test_fortran_order_and_byte_order_are_kept(tmp_path, generator, rows):
    array = np.asfortranarray(rows.numpy().astype(">f8"))
    (tmp_path / "d.pkl").write_bytes(pickle.dumps({"lat_comp": array}))
    torch.testing.assert_close(read_directions(tmp_path / "d.pkl", generator).vectors, rows)


def test_ours_are_read_for_their_generator_alone(tmp_path, generator, rows):
    w = random_w(generator, 500, seed=0)
    path = tmp_path / "ours.safetensors"
    save_directions(path, build_directions(generator, ["a", "b", "c"], rows, range(3), w), {})
    assert read_directions(path, generator).fingerprints == fingerprints(generator)
    torch.manual_seed(1)
    other = GENERATORS.build("stylegan2", 16, z_dim=W_DIM, w_dim=W_DIM, channel_base=256, channel_max=16)
    with pytest.raises(UserError, match="found for another generator"):
        read_directions(path, other)


class _Surprise:
    """Pickles to a call."""

    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize("name", ["d.pkl", "d.pt", "d.npy"])
def test_nothing_in_a_file_is_executed(tmp_path, generator, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content = {"lat_comp": _Surprise()}
    if name == "d.pkl":
        (tmp_path / name).write_bytes(pickle.dumps(content))
    elif name == "d.pt":
        torch.save(content, name)
    else:
        np.save(name, np.array([_Surprise()], dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError, match=rf"d\.{name[2:]}"):
        read_directions(tmp_path / name, generator)
    assert not (tmp_path / "executed").exists()


def object_array():
    return pickle.dumps({"lat_comp": np.array([b"x", None], dtype=object)})


def other_data_than_its_shape():
    good = pickle.dumps({"lat_comp": np.zeros((3, W_DIM), np.float32)}, protocol=2)
    return good.replace(b"K\x03K\x08\x86", b"K\x09K\x08\x86")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("d.pkl", object_array, "damaged, truncated or not the pickle of arrays"),
        ("d.pkl", other_data_than_its_shape, "damaged, truncated or not the pickle of arrays"),
        (
            "d.pkl",
            lambda: pickle.dumps({"lat_comp": np.zeros(8)})[:-9],
            "damaged, truncated or not the pickle of arrays",
        ),
        ("d.pkl", lambda: b"\x80\x04", "damaged, truncated or not the pickle of arrays"),
        ("d.npy", lambda: b"\x93NUMPY", "damaged or not a NumPy file"),
        ("d.pt", lambda: b"PK\x03\x04", "damaged or not a PyTorch file"),
        (
            "d.pkl",
            lambda: pickle.dumps({"weights": np.zeros(8)}),
            "it contains no directions: neither lat_comp nor comp",
        ),
        ("d.pkl", lambda: pickle.dumps({"lat_comp": "smile"}), "are not an array of numbers"),
        ("d.pkl", lambda: pickle.dumps({"lat_comp": np.zeros((2, 8))}), "zero or not finite"),
        ("d.pkl", lambda: pickle.dumps({"lat_comp": np.full((2, 8), np.nan)}), "zero or not finite"),
        ("d.pkl", lambda: pickle.dumps({"lat_comp": np.ones((2, 512))}), "have 512 numbers, but w here"),
        ("d.pkl", lambda: pickle.dumps({"lat_comp": np.ones((2, 2, 8))}), r"rows \[K, w_dim\], not"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, generator, name, data, words):
    (tmp_path / name).write_bytes(data())
    with pytest.raises(UserError, match=words) as raised:
        read_directions(tmp_path / name, generator)
    assert name in str(raised.value)


def test_a_file_that_is_not_there_is_said(tmp_path, generator):
    with pytest.raises(UserError, match=r"there is no file .*age\.pt"):
        read_directions(tmp_path / "age.pt", generator)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf, 1e300])
def test_one_direction_that_cannot_be_used_is_left_out(tmp_path, generator, bad):
    components = np.eye(8)[:3]
    components[1] = bad
    (tmp_path / "d.pkl").write_bytes(pickle.dumps({"lat_comp": components}))
    with pytest.warns(UserWarning, match=r"direction d1 is zero or not finite and is left out \(1 of 3\)"):
        found = read_directions(tmp_path / "d.pkl", generator)
    assert found.names == ("d0", "d2")
    assert torch.equal(found.vectors, torch.eye(8)[[0, 2]])
