import pytest
import torch
import torch.nn.functional as F

from psp.encoders import ENCODERS
from psp.encoders.gradual import GradualStyleEncoder, upsample
from stylegan2.runtime.errors import UserError

SMALL = {"widths": (16, 32, 48, 64), "units": (2, 1, 2, 1), "head_width": 24}


def naive_batch_norm(state, name, x):
    mean, var, weight, bias = (
        state[f"{name}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def naive_prelu(state, name, x):
    return torch.where(x > 0, x, state[f"{name}.weight"][:, None, None] * x)


def naive_block(state, name, x, stride):
    y = naive_batch_norm(state, f"{name}.res_layer.0", x)
    y = naive_prelu(state, f"{name}.res_layer.2", F.conv2d(y, state[f"{name}.res_layer.1.weight"], padding=1))
    y = F.conv2d(y, state[f"{name}.res_layer.3.weight"], padding=1)[:, :, ::stride, ::stride]
    y = naive_batch_norm(state, f"{name}.res_layer.4", y)
    squeezed = F.conv2d(F.adaptive_avg_pool2d(y, 1), state[f"{name}.res_layer.5.fc1.weight"]).clamp(min=0)
    y = y / (1 + torch.exp(-F.conv2d(squeezed, state[f"{name}.res_layer.5.fc2.weight"])))
    if f"{name}.shortcut_layer.0.weight" not in state:
        return y + F.max_pool2d(x, 1, stride)
    projected = F.conv2d(x, state[f"{name}.shortcut_layer.0.weight"], stride=stride)
    return y + naive_batch_norm(state, f"{name}.shortcut_layer.1", projected)


def naive_upsample(x, size):
    """Bilinear with corners aligned, one output position after the other."""
    positions = [i * (x.shape[-1] - 1) / (size - 1) for i in range(size)]
    weights = torch.zeros(size, x.shape[-1], dtype=x.dtype)
    for i, position in enumerate(positions):
        low = min(int(position), x.shape[-1] - 2)
        weights[i, low] += 1 - (position - low)
        weights[i, low + 1] += position - low
    return weights @ x @ weights.T


def naive_encoder(state, images, num_ws, units):
    """The paper's figure 2, row after row."""
    x = naive_prelu(state, "input_layer.2", naive_batch_norm(
        state, "input_layer.1", F.conv2d(images, state["input_layer.0.weight"], padding=1)
    ))  # fmt: skip
    maps, i = [], 0
    for count in units:
        for k in range(count):
            x = naive_block(state, f"body.{i}", x, 2 if k == 0 else 1)
            i += 1
        maps.append(x)
    coarse = maps[3]
    lateral = F.conv2d(maps[2], state["latlayer1.weight"], state["latlayer1.bias"])
    medium = naive_upsample(coarse, lateral.shape[-1]) + lateral
    lateral = F.conv2d(maps[1], state["latlayer2.weight"], state["latlayer2.bias"])
    fine = naive_upsample(medium, lateral.shape[-1]) + lateral
    codes = []
    for row in range(num_ws):
        x = coarse if row in (0, 1, 2) else medium if row in (3, 4, 5, 6) else fine
        i = 0
        while x.shape[-1] > 1:
            x = F.conv2d(x, state[f"styles.{row}.convs.{i}.weight"], state[f"styles.{row}.convs.{i}.bias"], 2, 1)
            x = torch.where(x > 0, x, 0.01 * x)
            i += 2
        weight = state[f"styles.{row}.linear.weight"]
        codes.append(x[:, :, 0, 0] @ weight.T / weight.shape[1] ** 0.5 + state[f"styles.{row}.linear.bias"])
    return torch.stack(codes, 1)


@pytest.fixture
def encoder(layouts):
    encoder = GradualStyleEncoder(10, w_dim=32, input_size=32, **SMALL)
    shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    encoder.load_state_dict(layouts["fill"](shapes))
    return encoder.double().eval()


def test_equals_the_formula_of_the_paper_row_by_row(encoder):
    images = torch.rand(3, 3, 32, 32, dtype=torch.float64) * 2 - 1
    expected = naive_encoder(encoder.state_dict(), images, 10, SMALL["units"])
    codes = encoder(images)
    assert codes.shape == (3, 10, 32)
    torch.testing.assert_close(codes, expected, rtol=1e-9, atol=1e-9)
    rows = codes.transpose(0, 1).flatten(1)
    assert torch.cdist(rows, rows).fill_diagonal_(torch.inf).min() > 1e-3  # so a swapped pair of heads would show


@pytest.mark.parametrize(("num_ws", "channels"), [(18, 3), (14, 1), (16, 19)])
def test_keys_and_shapes_are_the_published_ones(layouts, num_ws, channels):
    with torch.device("meta"):
        encoder = GradualStyleEncoder(num_ws, input_channels=channels)
    shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    assert shapes == layouts["encoder"](num_ws, channels)


def test_published_size():
    with torch.device("meta"):
        encoder = GradualStyleEncoder(18)
    assert len(encoder.state_dict()) == 621
    assert round(sum(p.numel() for p in encoder.parameters()) / 1e6, 1) == 267.1
    assert round(sum(p.numel() for p in encoder.styles.parameters()) / 1e6, 1) == 236.0


def test_upsampling_aligns_corners():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(upsample(x, torch.empty(1, 1, 8, 8)), naive_upsample(x, 8))


def test_one_image_gets_the_codes_that_it_gets_in_a_batch(encoder):
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(encoder(images[1:2]), encoder(images)[1:2])


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (2, 3, 16, 16), (2, 3, 32, 64), (2, 1, 32, 32), (3, 32, 32)])
def test_wrong_input_is_refused(encoder, shape):
    with pytest.raises(UserError, match=r"the encoder reads images"):
        encoder(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("size", [0, 16, 48, 255])
def test_impossible_input_size_is_refused(size):
    with pytest.raises(UserError, match="power of two"):
        GradualStyleEncoder(10, input_size=size, **SMALL)


def test_a_generator_without_fine_rows_leaves_no_parameter_unused():
    encoder = GradualStyleEncoder(6, w_dim=16, input_size=32, **SMALL)
    encoder(torch.randn(2, 3, 32, 32)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_fresh_encoder_answers_close_to_zero_but_sees_the_image():
    torch.manual_seed(0)
    encoder = GradualStyleEncoder(10, w_dim=64, input_size=64, **SMALL)
    codes = encoder(torch.randn(4, 3, 64, 64))
    assert codes.square().mean().sqrt() < 0.3
    assert codes.std(0).mean() > 0.001


def test_unknown_encoder_is_refused():
    with pytest.raises(UserError, match=r"no encoder called 'gradul'; there are .*gradual"):
        ENCODERS.build("gradul")
