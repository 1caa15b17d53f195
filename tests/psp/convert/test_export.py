"""Our models in the published layout."""

import pytest
import torch

from psp.convert import export_problems, from_content, to_official
from psp.convert.export import published_options
from psp.encoders import ENCODERS
from psp.model import PSp
from stylegan2.convert.rosinality import from_rosinality, to_rosinality
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError

PUBLISHED = {"img_resolution": 256}


def published_model(name="gradual", generator=None, **settings):
    """As the published code builds it; on the meta device, since it is a gigabyte."""
    with torch.device("meta"):
        own = GENERATORS.build("stylegan2", **(PUBLISHED | (generator or {})))
        encoder = ENCODERS.build(name, num_ws=own.num_ws, w_dim=own.w_dim, **{"input_size": 256, **settings})
        return PSp(encoder, own)


@pytest.mark.parametrize("multiplier", [{4: 24, 8: 24, 16: 12}, {4: 16, 8: 16, 16: 16}])
def test_a_generator_goes_there_and_back(layouts, multiplier):
    state = layouts["fill"](layouts["decoder"](16, multiplier.get, mapping_layers=3))
    again = to_rosinality(from_rosinality(state, torch.zeros(32)))
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], value) and again[key].shape == value.shape for key, value in state.items())


def test_every_kind_goes_there_and_back(published):
    for kind, (name, *_) in published.kinds.items():
        content = published.content(kind)
        model, metadata = from_content(content)
        again = to_official(model, metadata.get("task", "inversion"))
        assert again["opts"]["encoder_type"] == kind
        assert again["state_dict"].keys() == content["state_dict"].keys(), name
        for key, value in content["state_dict"].items():
            assert torch.equal(again["state_dict"][key], value), key
        assert torch.equal(again["latent_avg"], content["latent_avg"]), name


def test_what_was_exported_loads_and_gives_the_same_images(published):
    for kind in ("Encoder4Editing", "ResNetBackboneEncoder"):
        model, _ = from_content(published.content(kind))
        again, _ = from_content(to_official(model))
        images = torch.randn(1, 3, 32, 32)
        with torch.no_grad():
            assert torch.equal(again(images), model(images))


def test_a_model_of_ours_has_the_published_keys_and_shapes(layouts):
    model = published_model()
    content = to_official_on_meta(model)
    wanted = {f"encoder.{key}": shape for key, shape in layouts["encoder"](14).items()}
    decoder = layouts["decoder"](256, layouts["published_width"], w_dim=512, mapping_layers=8)
    wanted |= {f"decoder.{key}": shape for key, shape in decoder.items()}
    assert {key: tuple(value.shape) for key, value in content["state_dict"].items()} == wanted
    assert tuple(content["latent_avg"].shape) == (14, 512)


def to_official_on_meta(model):
    with torch.device("meta"):
        return to_official(model)


def test_options_are_those_that_the_published_scripts_read():
    options = published_options(published_model("gradual", input_channels=19), "segmentation")
    assert options["dataset_type"] == "celebs_seg_to_face"
    assert (options["input_nc"], options["label_nc"], options["output_size"], options["n_styles"]) == (19, 19, 256, 14)
    assert options["start_from_latent_avg"] is True
    assert options["learn_in_w"] is False
    assert published_options(published_model("w"), "inversion")["learn_in_w"] is True
    assert published_options(published_model("e4e"), "inversion")["stylegan_size"] == 256
    restyle = published_options(published_model("restyle", iterations=4), "inversion")
    assert (restyle["input_nc"], restyle["label_nc"], restyle["n_iters_per_batch"]) == (6, 0, 4)


@pytest.mark.parametrize("name", ["gradual", "e4e", "restyle", "restyle_resnet_e4e", "w_plus_naive"])
def test_what_the_published_code_can_build_has_no_obstacle(name):
    assert export_problems(published_model(name)) == []


@pytest.mark.parametrize(
    ("name", "generator", "settings", "words"),
    [
        ("gradual", {}, {"depth": 100}, "the encoder's depth is 100, not 50"),
        ("gradual", {}, {"input_size": 128}, "the encoder's input_size is 128, not 256"),
        ("gradual", {}, {"head_width": 80}, "the encoder's head_width is 80, not 512"),
        ("e4e", {}, {"widths": (16, 16, 32, 32)}, "the encoder's widths"),
        ("restyle", {}, {"slope": 0.2}, "the encoder's slope is 0.2, not None"),
        ("gradual", {"mapping_layers": 2}, {}, "the generator's mapping_layers is 2, not 8"),
        ("gradual", {"channel_base": 16384}, {}, "the generator has channel_base 16384"),
        ("gradual", {"architecture": "residual"}, {}, "the generator's architecture is residual, not skip"),
        ("gradual", {"w_dim": 128}, {}, "the generator's w_dim is 128, not 512"),
        ("light", {}, {}, "its encoder light was never published"),
    ],
)
def test_what_it_cannot_build_is_said(name, generator, settings, words):
    assert any(words in reason for reason in export_problems(published_model(name, generator, **settings)))


def test_widths_that_are_the_same_at_this_size_are_no_obstacle():
    assert export_problems(published_model("gradual", {"img_resolution": 32, "channel_base": 16384})) == []


def test_a_model_without_a_published_layout_is_refused():
    for model in (published_model("light"), published_model("gradual", {"architecture": "plain"})):
        with pytest.raises(UserError, match="there is no published layout for this model: "):
            to_official(model)


def test_w_with_a_different_average_in_each_row_is_an_obstacle(published):
    model, _ = from_content(published.content("BackboneEncoderUsingLastLayerIntoW"))
    model.latent_avg[3] += 1
    assert "the rows of its latent average differ" in export_problems(model)
