"""Batch normalization over processes: what one process computes of the whole batch, and its gradients."""

import pytest
import torch
from torch import nn

from psp.batch_norm import SyncBatchNorm2d, synchronize
from psp.encoders import ENCODERS
from tests.stylegan2.test_distributed import in_processes


def example():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = 5 + torch.randn(8, 3, 4, 4, dtype=torch.float64)
    return norm, x, torch.randn_like(x)


def normalize(module, x, cotangent):
    x = x.clone().requires_grad_(True)
    y = module(x)
    (y * cotangent).sum().backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    return {"y": y.detach(), "x": x.grad, **gradients, **dict(module.named_buffers())}


def work(folder):
    norm, x, cotangent = example()
    module = nn.Sequential(norm)
    synchronize(module)
    assert type(module[0]) is SyncBatchNorm2d
    rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
    torch.save(normalize(module[0], x[rank::count], cotangent[rank::count]), folder / f"{rank}.pt")


@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_normalize_as_one(tmp_path, count):
    assert in_processes(count, work, tmp_path) == [0] * count
    expected = normalize(*example())
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(count)]
    for rank in range(count):
        for name in ("y", "x"):
            torch.testing.assert_close(found[rank][name], expected[name][rank::count], rtol=1e-10, atol=1e-12)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            torch.testing.assert_close(found[rank][name], expected[name], rtol=1e-10, atol=1e-12)
    for name in ("weight", "bias"):
        torch.testing.assert_close(sum(part[name] for part in found), expected[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ENCODERS.names())
def test_an_encoder_keeps_its_weights_and_what_it_computes(name):
    small = {} if name.startswith("light") else {"widths": (16, 16, 16, 16), "units": (1, 1, 1, 1)}
    small |= {"feature_side": 8, "feature_channels": 8} if "feature" in name else {}
    encoder = ENCODERS.build(name, num_ws=6, w_dim=8, input_size=32, **small).eval()
    images = [torch.randn(2, 3, 32, 32)] * (1 + getattr(encoder, "reads_rendering", False))
    before, parameters = {k: v.clone() for k, v in encoder.state_dict().items()}, list(encoder.parameters())
    with torch.no_grad():
        codes = encoder(*images)
        synchronize(encoder)
        assert torch.equal(encoder(*images), codes)
        encoder.train()
        torch.testing.assert_close(encoder(*images), _with_torchs(encoder, before, images), rtol=1e-4, atol=1e-5)
    assert encoder.state_dict().keys() == before.keys()
    assert all(p is q for p, q in zip(encoder.parameters(), parameters, strict=True))
    assert not any(type(module) is nn.BatchNorm2d for module in encoder.modules())


def _with_torchs(encoder, state, images):
    """What the encoder computes in training with PyTorch's batch normalization."""
    again = ENCODERS.build(**encoder.built_as)
    again.load_state_dict(state)
    return again.train()(*images)
