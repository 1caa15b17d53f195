import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from psp.encoders.light import light


@pytest.mark.parametrize(("num_ws", "size"), [(10, 64), (12, 128)])
@pytest.mark.parametrize("w_dim", [128, 512])
def test_at_most_six_million_parameters(num_ws, size, w_dim):
    with torch.device("meta"):
        encoder = light(num_ws, w_dim, input_size=size)
    assert sum(p.numel() for p in encoder.parameters()) <= 6e6


def test_at_most_a_third_of_a_gigamac_at_64_px():
    encoder = light(10, input_size=64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder(torch.zeros(2, 3, 64, 64))
    assert 0.1e9 < counter.get_total_flops() / 2 / 2 <= 0.35e9


def test_learns_to_tell_images_apart():
    torch.manual_seed(0)
    encoder = light(8, 16, input_size=32)
    images, codes = torch.randn(8, 3, 32, 32), torch.randn(8, 8, 16)
    optimizer = torch.optim.Adam(encoder.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = (encoder(images) - codes).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 1.3  # near the variance of the codes: it starts from about zero
    assert losses[-1] < 0.2 * losses[0]
