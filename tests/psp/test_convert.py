import argparse
import os

import pytest
import torch

import psp
from stylegan2.runtime.errors import CheckpointError

WIDTHS = (16, 32, 48, 64)
NUM_WS, W_DIM = 8, 32
OPTIONS = {"encoder_type": "GradualStyleEncoder", "start_from_latent_avg": True, "dataset_type": "ffhq_encode"}


@pytest.fixture(scope="module")
def state(layouts):
    """The tensors of a pSp file with narrow layers: a 32 px generator, 32 px input."""
    encoder = layouts["encoder"](NUM_WS, size=32, widths=WIDTHS, w_dim=W_DIM, head_width=24)
    decoder = layouts["decoder"](32, w_dim=W_DIM)
    return layouts["fill"](encoder, "encoder.") | layouts["fill"](decoder, "decoder.", seed=1)


@pytest.fixture
def average():
    return torch.randn(NUM_WS, W_DIM, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def write(tmp_path, state):
    def write(name="model.pt", **content):
        content = {"state_dict": state, "opts": OPTIONS} | content
        torch.save({key: value for key, value in content.items() if value is not None}, tmp_path / name)
        return tmp_path / name

    return write


def test_published_file(write, state, average):
    model, metadata = psp.load(write(latent_avg=average))
    encoder = model.encoder
    assert (encoder.num_ws, encoder.w_dim, encoder.input_channels, encoder.input_size) == (NUM_WS, W_DIM, 3, 32)
    loaded = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    assert loaded.keys() == {key for key in state if key.startswith("encoder.")}
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())
    assert (model.generator.img_resolution, model.generator.num_ws) == (32, NUM_WS)
    assert torch.equal(model.latent_avg, average)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(images), encoder(images) + average)
        assert model(images).isfinite().all()
    assert metadata["options"]["dataset_type"] == "ffhq_encode"
    assert not model.training


def test_metadata_rebuilds_the_model(write, average, tmp_path):
    from stylegan2.runtime import checkpoint

    model, metadata = psp.load(write(latent_avg=average))
    checkpoint.save(tmp_path / "ours.safetensors", model.state_dict(), metadata)
    again, _ = psp.load(tmp_path / "ours.safetensors")
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))


@pytest.mark.parametrize("channels", [1, 19])
def test_input_channels_come_from_the_stem(write, state, layouts, average, channels):
    stem = {"encoder.input_layer.0.weight": torch.randn(WIDTHS[0], channels, 3, 3)}
    model, _ = psp.load(write(state_dict=state | stem, latent_avg=average))
    assert model.encode(torch.randn(1, channels, 32, 32)).shape == (1, NUM_WS, W_DIM)


@pytest.mark.parametrize("rows", [None, 1])
def test_average_of_one_row_is_repeated(write, average, rows):
    one = average[0] if rows is None else average[:1]
    model, _ = psp.load(write(latent_avg=one))
    assert torch.equal(model.latent_avg, average[0].repeat(NUM_WS, 1))
    assert torch.equal(model.generator.w_avg, average[0])


def test_missing_average_is_estimated_and_said(write, capsys):
    first, _ = psp.load(write())
    second, _ = psp.load(write())
    assert capsys.readouterr().out.count("no mean of W; it was estimated from 10000 samples") == 2
    assert torch.equal(first.latent_avg, second.latent_avg)
    with torch.no_grad():
        z = torch.randn(10_000, W_DIM, generator=torch.Generator().manual_seed(99))
        expected = first.generator.mapping(z)[:, 0]
    error = expected.std(0) / 10_000**0.5
    assert ((first.latent_avg[0] - expected.mean(0)).abs() < 8 * error + 1e-6).all()
    assert first.latent_avg.abs().max() > 0


def test_model_trained_without_the_average_adds_nothing(write, average):
    model, _ = psp.load(write(opts=OPTIONS | {"start_from_latent_avg": False}, latent_avg=average))
    assert torch.equal(model.latent_avg, torch.zeros(NUM_WS, W_DIM))


@pytest.mark.parametrize("options", [None, {}, argparse.Namespace(**OPTIONS), {"encoder_type": "GradualStyleEncoder"}])
def test_options_may_be_missing_or_a_namespace(write, average, options):
    model, _ = psp.load(write(opts=options, latent_avg=average))
    assert torch.equal(model.latent_avg, average)


def drop(prefix):
    return lambda state: {key: value for key, value in state.items() if not key.startswith(prefix)}


@pytest.mark.parametrize(
    ("options", "change", "reason"),
    [
        ({"encoder_type": "Encoder4Editing"}, dict, "an e4e file: its heads are deltas on head 0"),
        ({"stylegan_size": 1024}, dict, "an e4e file: its heads are deltas on head 0"),
        ({"encoder_type": "BackboneEncoder"}, dict, "a ReStyle file"),
        ({}, drop("encoder.latlayer"), "a ReStyle file"),
        ({}, lambda state: state | {"hypernet.x": torch.ones(1)}, "a HyperStyle file"),
        (
            {"encoder_type": "BackboneEncoderUsingLastLayerIntoW"},
            dict,
            "a baseline of the pSp paper on a single feature map",
        ),
        ({"encoder_type": "Unheard"}, dict, "an encoder of type Unheard"),
        ({}, drop("encoder."), "without style heads"),
    ],
)
def test_other_methods_are_refused_with_the_reason(write, state, average, options, change, reason):
    path = write(state_dict=change(state), opts=options, latent_avg=average)
    with pytest.raises(CheckpointError, match=reason) as caught:
        psp.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("encoder.body.5.res_layer.4.bias"), "1 missing: body.5.res_layer.4.bias"),
        (drop("encoder.body.23"), "this one has 23"),
        (drop("encoder.input_layer.0"), "encoder.input_layer.0.weight is missing"),
        (drop("decoder."), "no generator"),
        (lambda state: state | {"encoder.stray": torch.ones(1)}, "1 extra: stray"),
    ],
)
def test_incomplete_files_are_named(write, state, average, change, words):
    with pytest.raises(CheckpointError, match=words):
        psp.load(write(state_dict=change(state), latent_avg=average))


def test_an_average_of_another_kind_is_said(write):
    for average in ([0.0], torch.tensor(0.0), torch.zeros(3, 3, W_DIM)):
        with pytest.raises(CheckpointError, match="no tensor of one or two dimensions"):
            psp.load(write(latent_avg=average))


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_file_runs_nothing(write, tmp_path):
    path = write(opts={"surprise": Malicious(tmp_path / "created")})
    with pytest.raises(CheckpointError, match="more than tensors and settings; nothing in it was executed"):
        psp.load(path)
    assert not (tmp_path / "created").exists()
    torch.load(path, weights_only=False)  # the file is a working attack
    assert (tmp_path / "created").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_a_damaged_file_is_said(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        psp.load(path)


@pytest.mark.parametrize("content", [torch.ones(3), {"g_ema": {}}, [1, 2]])
def test_another_pytorch_file_is_said(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="no pSp checkpoint, since it has no state_dict"):
        psp.load(tmp_path / "other.pt")
