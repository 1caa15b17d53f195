import argparse
import os

import pytest
import torch
from safetensors.torch import save_file

from psp import loading
from psp.convert import from_content, inspect, to_official
from psp.losses import build_losses
from psp.trainer import step
from psp.training_settings import TrainingSettings
from psp.training_state import buffers_of_step, build_state
from stylegan2.runtime.errors import CheckpointError
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.registry import built_as
from stylegan2.runtime.stats import Averages

WIDTHS = (16, 32, 48, 64)
NUM_WS, W_DIM = 8, 32
OPTIONS = {"encoder_type": "GradualStyleEncoder", "start_from_latent_avg": True, "dataset_type": "ffhq_encode"}


def drop(prefix):
    return lambda state: {key: value for key, value in state.items() if not key.startswith(prefix)}


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
    model, metadata = loading.load(write(latent_avg=average))
    encoder = model.encoder
    assert (encoder.num_ws, encoder.w_dim, encoder.input_channels, encoder.input_size) == (NUM_WS, W_DIM, 3, 32)
    loaded = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    assert loaded.keys() == {key for key in state if key.startswith("encoder.")}
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())
    assert (model.generator.img_resolution, model.generator.num_ws) == (32, NUM_WS)
    assert torch.equal(model.latent_avg, average)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(images).w_plus, encoder(images) + average)
        assert model(images).isfinite().all()
    assert metadata["options"]["dataset_type"] == "ffhq_encode"
    assert not model.training


def test_metadata_rebuilds_the_model(write, average, tmp_path):
    from stylegan2.runtime import checkpoint

    model, metadata = loading.load(write(latent_avg=average))
    checkpoint.save(tmp_path / "ours.safetensors", model.state_dict(), metadata)
    again, _ = loading.load(tmp_path / "ours.safetensors")
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))


@pytest.mark.parametrize("channels", [1, 19])
def test_input_channels_come_from_the_stem(write, state, layouts, average, channels):
    stem = {"encoder.input_layer.0.weight": torch.randn(WIDTHS[0], channels, 3, 3)}
    model, _ = loading.load(write(state_dict=state | stem, latent_avg=average))
    assert model.encode(torch.randn(1, channels, 32, 32)).w_plus.shape == (1, NUM_WS, W_DIM)


@pytest.mark.parametrize("rows", [None, 1])
def test_average_of_one_row_is_repeated(write, average, rows):
    one = average[0] if rows is None else average[:1]
    model, _ = loading.load(write(latent_avg=one))
    assert torch.equal(model.latent_avg, average[0].repeat(NUM_WS, 1))
    assert torch.equal(model.generator.w_avg, average[0])


def test_missing_average_is_estimated_and_said(write, capsys):
    first, _ = loading.load(write())
    second, _ = loading.load(write())
    assert capsys.readouterr().out.count("no mean of W; it was estimated from 10000 samples") == 2
    assert torch.equal(first.latent_avg, second.latent_avg)
    with torch.no_grad():
        z = torch.randn(10_000, W_DIM, generator=torch.Generator().manual_seed(99))
        expected = first.generator.mapping(z)[:, 0]
    error = expected.std(0) / 10_000**0.5
    assert ((first.latent_avg[0] - expected.mean(0)).abs() < 8 * error + 1e-6).all()
    assert first.latent_avg.abs().max() > 0


def test_model_trained_without_the_average_adds_nothing(write, average):
    model, _ = loading.load(write(opts=OPTIONS | {"start_from_latent_avg": False}, latent_avg=average))
    assert torch.equal(model.latent_avg, torch.zeros(NUM_WS, W_DIM))


@pytest.mark.parametrize("options", [None, {}, argparse.Namespace(**OPTIONS), {"encoder_type": "GradualStyleEncoder"}])
def test_options_may_be_missing_or_a_namespace(write, average, options):
    model, _ = loading.load(write(opts=options, latent_avg=average))
    assert torch.equal(model.latent_avg, average)


# --- which encoder ---


def heads_but_the_first(codes):
    return (codes - codes[:, :1])[:, 1:].abs().amax(dim=(0, 2))


def test_every_published_kind_is_dispatched_by_its_type(published, tmp_path):
    for kind, (name, *_) in published.kinds.items():
        torch.save(published.content(kind), tmp_path / "model.pt")
        model, metadata = loading.load(tmp_path / "model.pt")
        num_ws, w_dim, size = published.sizes
        encoder = model.encoder
        assert built_as(encoder)["name"] == metadata["encoder"]["name"] == name
        assert (encoder.num_ws, encoder.w_dim, encoder.input_channels) == (num_ws, w_dim, 3)
        assert encoder.input_size == (256 if name in ("w", "w_plus_naive") else size)
        assert not model.training
        with torch.no_grad():
            output = model(torch.randn(2, 3, encoder.input_size, encoder.input_size))
        assert output.shape == (2, 3, 32, 32)
        assert output.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        ("GradualStyleEncoder", {}, "gradual"),
        ("Encoder4Editing", {"stylegan_size": 32}, "e4e"),
        ("BackboneEncoder", {}, "restyle"),
        ("ProgressiveBackboneEncoder", {"delta_norm": 2}, "restyle_e4e"),
        ("ResNetBackboneEncoder", {}, "restyle_resnet"),
        ("ResNetProgressiveBackboneEncoder", {"progressive_start": 1}, "restyle_resnet_e4e"),
        ("BackboneEncoderUsingLastLayerIntoW", {}, "w"),
        ("BackboneEncoderUsingLastLayerIntoWPlus", {}, "w_plus_naive"),
    ],
)
def test_where_the_type_is_not_said_keys_and_options_tell(published, kind, options, name):
    content = published.content(kind) | {"opts": options}
    assert built_as(from_content(content)[0].encoder)["name"] == name


def test_e4e_and_psp_files_differ_only_in_the_type_and_are_read_differently(published):
    images = torch.randn(1, 3, 32, 32)
    content = published.content("GradualStyleEncoder")
    codes = {}
    for kind in ("GradualStyleEncoder", "Encoder4Editing"):
        content["opts"]["encoder_type"] = kind
        with torch.no_grad():
            codes[kind] = from_content(content)[0].encode(images).w_plus - content["latent_avg"]
    psp_codes, e4e_codes = codes.values()
    torch.testing.assert_close(psp_codes[:, 0], e4e_codes[:, 0])
    torch.testing.assert_close(psp_codes[:, 1:] + psp_codes[:, :1], e4e_codes[:, 1:], atol=1e-4, rtol=1e-4)
    assert heads_but_the_first(psp_codes - e4e_codes).min() > 0.01


def test_the_first_e4e_files_for_cars_have_two_heads_too_many(published, tmp_path, capsys):
    content = published.content("Encoder4Editing", num_ws=10, stylegan_size=32)
    torch.save(content, tmp_path / "cars.pt")
    model, _ = loading.load(tmp_path / "cars.pt")
    assert "the generator uses the first 8 of its 10 heads" in capsys.readouterr().out
    wide = published.content("Encoder4Editing", num_ws=10, resolution=64)
    wide["state_dict"] |= {key: value for key, value in content["state_dict"].items() if key.startswith("encoder.")}
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(images).w_plus, from_content(wide)[0].encode(images).w_plus[:, :8])


@pytest.mark.parametrize(
    ("passes", "expected"), [({}, 5), ({"n_iters_per_batch": 3}, 3), ({"n_iters_per_batch": "x"}, 5)]
)
def test_the_number_of_passes_is_that_of_the_file(published, passes, expected):
    model, _ = from_content(published.content("BackboneEncoder", **passes))
    assert model.iterations == built_as(model.encoder)["iterations"] == expected


def test_restyle_starts_from_the_average_also_where_the_others_would_not(published):
    content = published.content("BackboneEncoder", start_from_latent_avg=False)
    assert torch.equal(from_content(content)[0].latent_avg, content["latent_avg"])


def test_the_encoder_shares_its_tensors_with_what_was_read(published):
    content = published.content("GradualStyleEncoder")
    model, _ = from_content(content)
    own = model.encoder.styles[3].linear.weight
    assert own.data_ptr() == content["state_dict"]["encoder.styles.3.linear.weight"].data_ptr()
    assert own.requires_grad


@pytest.mark.parametrize(("dataset", "task"), [("celebs_seg_to_face", "segmentation"), ("ffhq_encode", "inversion")])
def test_the_task_is_that_of_the_dataset_type(published, dataset, task):
    assert from_content(published.content("GradualStyleEncoder", dataset_type=dataset))[1]["task"] == task


def test_further_keys_of_a_training_are_left_alone(published):
    content = published.content("Encoder4Editing") | {
        "global_step": 7,
        "optimizer": {},
        "best_val_loss": None,
        "discriminator_state_dict": {"mlp.0.weight": torch.ones(2)},
    }
    assert from_content(content)[1]["source"] == "encoder4editing"


@pytest.mark.parametrize(
    ("options", "change", "reason"),
    [
        ({}, lambda state: state | {"hypernet.x": torch.ones(1)}, "a HyperStyle file"),
        ({"encoder_type": "Unheard"}, dict, "an encoder of type Unheard"),
        (
            {"encoder_type": "GradualStyleEncoder", "n_iters_per_batch": 5},
            dict,
            "a ReStyle file with a feature pyramid",
        ),
        ({}, drop("encoder."), "no known encoder"),
        ({"encoder_type": "BackboneEncoder"}, dict, "restyle cannot be built with input_channels"),
        ({"encoder_type": "ResNetBackboneEncoder"}, dict, "but this one has 24"),
        ({"encoder_type": "BackboneEncoderUsingLastLayerIntoW"}, dict, "encoder.linear.bias is missing"),
    ],
)
def test_other_methods_are_refused_with_the_reason(write, state, average, options, change, reason):
    path = write(state_dict=change(state), opts=options, latent_avg=average)
    with pytest.raises(CheckpointError, match=reason) as caught:
        loading.load(path)
    assert str(path) in str(caught.value)


# --- use ---


@pytest.mark.parametrize("kind", ["GradualStyleEncoder", "Encoder4Editing", "BackboneEncoder"])
def test_a_published_model_mixes_styles_and_trains_further(published, kind):
    model, _ = from_content(published.content(kind, n_iters_per_batch=2) if "Back" in kind else published.content(kind))
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        w_plus, w = model.encode(images).w_plus, model.generator.mapping(torch.randn(1, 32))
        mixed = model.decode(torch.cat([w_plus[:, :4], w[:, 4:].expand(2, -1, -1)], 1))
        assert not torch.allclose(mixed, model.decode(w_plus))
    settings = TrainingSettings(learning_rate=1e-4, optim_name="adam", progressive_start=0, progressive_step_every=0)
    state = build_state(model, settings)
    assert (state.adversary is not None) == (kind == "Encoder4Editing")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings, guard = TrainingSettings(), Guard(9, buffers_of_step(state))
    with guard.step():
        step(
            state, images, images, losses=build_losses({"l2": 1.0}), settings=settings, guard=guard, averages=Averages()
        )
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {f"encoder.styles.{row}.linear.weight" for row in range(8)} <= changed
    assert not any(name.startswith("generator") for name in changed)


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
        loading.load(write(state_dict=change(state), latent_avg=average))


def test_an_average_of_another_kind_is_said(write):
    for average in ([0.0], torch.tensor(0.0), torch.zeros(3, 3, W_DIM), torch.zeros(0), torch.zeros(0, W_DIM)):
        with pytest.raises(CheckpointError, match="not a tensor of one or two dimensions"):
            loading.load(write(latent_avg=average))


READ_FOR_SIZES = {
    "GradualStyleEncoder": ("input_layer.0.", "styles.0.linear.", "styles.", "body.6.res_layer.3.", "body."),
    "BackboneEncoderUsingLastLayerIntoWPlus": ("input_layer.0.", "linear.bias", "output_layer_2.3.", "body.2."),
    "ResNetBackboneEncoder": ("conv1.", "styles.0.linear.weight", "body.15.conv2.", "body."),
}


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize(("kind", "part"), [(kind, part) for kind, parts in READ_FOR_SIZES.items() for part in parts])
def test_whatever_is_missing_is_said_in_one_sentence(published, kind, part, typed):
    content = published.content(kind)
    state = {k: v for k, v in content["state_dict"].items() if not k.startswith(f"encoder.{part}")}
    with pytest.raises(CheckpointError) as caught:
        from_content({**content, "state_dict": state, "opts": content["opts"] if typed else {}})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("GradualStyleEncoder", "styles.0.linear.weight"),
        ("GradualStyleEncoder", "input_layer.0.weight"),
        ("ResNetBackboneEncoder", "conv1.weight"),
        ("BackboneEncoderUsingLastLayerIntoW", "linear.bias"),
    ],
)
def test_a_tensor_without_dimensions_is_said(published, kind, key):
    content = published.content(kind)
    content["state_dict"][f"encoder.{key}"] = torch.tensor(1.0)
    with pytest.raises(CheckpointError, match="tensors of other shapes than a published one"):
        from_content(content)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_file_runs_nothing(write, tmp_path):
    path = write(opts={"surprise": Malicious(tmp_path / "created")})
    with pytest.raises(CheckpointError, match="more than tensors and settings; nothing in it was executed"):
        loading.load(path)
    assert not (tmp_path / "created").exists()
    torch.load(path, weights_only=False)  # the file is a working attack
    assert (tmp_path / "created").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_a_damaged_file_is_said(tmp_path, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        loading.load(path)


@pytest.mark.parametrize("content", [torch.ones(3), {"g_ema": {}}, [1, 2]])
def test_another_pytorch_file_is_said(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not a pSp checkpoint, because it has no state_dict"):
        loading.load(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("dataset", "of_faces"), [("cars_encode", False), ("horse_encode", False), ("ffhq_encode", True)]
)
def test_the_data_set_type_says_whether_faces_are_looked_for(write, dataset, of_faces):
    _, metadata = loading.load(write(opts={**OPTIONS, "dataset_type": dataset}))
    assert metadata.get("faces", True) == of_faces


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "module.net.", "_orig_mod.module."])
def test_published_tensors_in_a_safetensors_file(write, state, average, tmp_path, prefix):
    expected, _ = loading.load(write(latent_avg=average))
    flat = {f"{prefix}{name}": tensor.contiguous().clone() for name, tensor in state.items()}
    save_file(flat | {f"{prefix}latent_avg": average}, tmp_path / "theirs.safetensors")
    model, metadata = loading.load(tmp_path / "theirs.safetensors")
    assert metadata["encoder"]["name"] == "gradual"
    assert torch.equal(model.latent_avg, average)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images), expected(images))
    assert any("gradual" in line for line in inspect(tmp_path / "theirs.safetensors"))


@pytest.mark.parametrize("kind", ["GradualStyleEncoder", "Encoder4Editing", "BackboneEncoder", "ResNetBackboneEncoder"])
def test_encoders_of_cars_read_landscapes_as_published(published, tmp_path, kind):
    square, _ = from_content(published.content(kind))
    model, metadata = from_content(published.content(kind, dataset_type="cars_encode"))
    assert (model.encoder.aspect, metadata["faces"]) == (0.75, False)
    size = model.encoder.input_size
    images = torch.randn(2, 3, size, size)
    margin = size // 8
    bars = images.clone()
    bars[:, :, :margin], bars[:, :, -margin:] = 5, -5
    with torch.no_grad():
        codes = model.encode(images).w_plus
        assert torch.equal(model.encode(bars).w_plus, codes)  # the bars are not read
        assert not torch.allclose(square.encode(images).w_plus, square.encode(bars).w_plus)
    loading.save_model(tmp_path / "cars.safetensors", model, metadata)
    again, _ = loading.load(tmp_path / "cars.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(again.encode(images).w_plus, codes)
    assert to_official(model)["opts"]["dataset_type"] == "cars_encode"
