"""The Inception of FID against torch-fidelity's, both with the same random weights; the true ones are a download."""

import pytest
import torch

from psp.perception.inception import Inception, load_inception, resize_as_tensorflow
from stylegan2.runtime.errors import CheckpointError, UserError


def random_weights(network):
    """Of a size that keeps the signal alive through all layers."""
    draw = torch.Generator().manual_seed(0)
    filled = {}
    for name, value in network.state_dict().items():
        if name.endswith("conv.weight"):
            filled[name] = torch.randn(value.shape, generator=draw) * (2 / value[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            filled[name] = 0.5 + torch.rand(value.shape, generator=draw)
        elif value.is_floating_point():
            filled[name] = 0.1 * torch.randn(value.shape, generator=draw) + (1 if name.endswith("bn.weight") else 0)
        else:
            filled[name] = value
    return filled


@pytest.fixture(scope="module")
def weights_file(module_path):
    path = module_path / "weights.pth"
    torch.save(random_weights(Inception()), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("side", [64, 320])
def test_it_equals_torch_fidelity(weights_file, side):
    peer = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    theirs = peer.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(weights_file))
    pixels = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    with torch.no_grad():
        (expected,) = theirs(pixels)
        found = load_inception(weights_file)(pixels / 127.5 - 1)
    assert found.shape == (2, 2048)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_another_networks_file_is_refused(weights_file, tmp_path):
    tensors = torch.load(weights_file, weights_only=True)
    del tensors["Mixed_7c.branch_pool.conv.weight"]
    torch.save(tensors, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"Mixed_7c\.branch_pool\.conv\.weight"):
        load_inception(tmp_path / "other.pth")


def test_a_missing_file_names_what_works_instead(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("PSP_WEIGHTS", raising=False)
    with pytest.raises(UserError, match="fd_effnet"):
        load_inception()


def test_resizing_reads_at_multiples_of_the_ratio():
    """TensorFlow 1 puts output pixel i at i * H / side: doubled, every second pixel is an original one."""
    image = torch.rand(1, 1, 4, 4)
    large = resize_as_tensorflow(image, 8)
    assert torch.equal(large[:, :, ::2, ::2], image)
    torch.testing.assert_close(large[0, 0, 0, 1], (image[0, 0, 0, 0] + image[0, 0, 0, 1]) / 2)
    torch.testing.assert_close(large[0, 0, 7, 0], image[0, 0, 3, 0])  # beyond the last pixel there is nothing else
