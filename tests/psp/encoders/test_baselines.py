"""The paper's two baselines."""

import pytest
import torch

from psp.encoders.baselines import NaiveWPlusEncoder, WEncoder

SMALL = {"widths": (16, 16, 32, 48), "units": (1, 1, 1, 1)}


def shapes(encoder):
    return {key: tuple(value.shape) for key, value in encoder.state_dict().items()}


def test_keys_and_shapes_are_the_published_ones(layouts):
    with torch.device("meta"):
        assert shapes(WEncoder(18)) == layouts["w"]()
        assert shapes(NaiveWPlusEncoder(18)) == layouts["w_plus"](18)
        assert shapes(NaiveWPlusEncoder(14, input_channels=19)) == layouts["w_plus"](14, 19)


@pytest.mark.parametrize(("cls", "millions"), [(WEncoder, 31.2), (NaiveWPlusEncoder, 48.5)])
def test_published_size(cls, millions):
    with torch.device("meta"):
        encoder = cls(18)
    assert round(sum(p.numel() for p in encoder.parameters()) / 1e6, 1) == millions


def test_w_is_a_linear_function_of_the_mean_of_the_last_map():
    encoder = WEncoder(10, 24, input_size=32, **SMALL).double().eval()
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    codes = encoder(images)
    assert codes.shape == (3, 10, 24)
    assert (codes == codes[:, :1]).all()
    last = encoder.features(images)[-1]
    for n in range(3):
        mean = torch.stack([channel.mean() for channel in last[n]])
        expected = encoder.linear.weight @ mean / 48**0.5 + encoder.linear.bias
        torch.testing.assert_close(codes[n, 4], expected)


def test_naive_w_plus_reads_all_rows_from_one_vector():
    encoder = NaiveWPlusEncoder(10, 24, input_size=64, **SMALL).double().eval()
    encoder.output_layer_2[0].running_mean.normal_()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    codes = encoder(images)
    assert codes.shape == (2, 10, 24)
    norm, linear = encoder.output_layer_2[0], encoder.output_layer_2[3]
    x = (encoder.features(images)[-1] - norm.running_mean[:, None, None]) / (1 + 1e-5) ** 0.5
    bins = [(i * 4 // 7, -(-(i + 1) * 4 // 7)) for i in range(7)]  # each the mean of the one or two pixels it touches
    rows = [torch.stack([x[:, :, a:b, c:d].mean([2, 3]) for c, d in bins], -1) for a, b in bins]
    vector = torch.stack(rows, 2).flatten(1) @ linear.weight.T + linear.bias
    expected = vector @ encoder.linear.weight.T / 48**0.5 + encoder.linear.bias
    torch.testing.assert_close(codes, expected.view(2, 10, 24))


@pytest.mark.parametrize("cls", [WEncoder, NaiveWPlusEncoder])
def test_a_fresh_encoder_answers_close_to_zero_but_sees_the_image(cls):
    encoder = cls(10, 64, input_size=64, **SMALL)
    codes = encoder(torch.randn(4, 3, 64, 64))
    assert codes.square().mean().sqrt() < 0.5
    assert codes.std(0).mean() > 0.001
