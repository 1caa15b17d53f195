"""What `inspect` says about each kind of file."""

import pytest
import torch

from psp.convert import inspect
from psp.convert.official import from_content
from psp.loading import model_metadata, save_model
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import CheckpointError, UserError


@pytest.fixture
def lines(tmp_path):
    def lines(content):
        torch.save(content, tmp_path / "model.pt")
        return inspect(tmp_path / "model.pt")

    return lines


def test_a_published_model(published, lines):
    content = published.content("Encoder4Editing", dataset_type="ffhq_encode") | {"global_step": 3}
    found = lines(content)
    assert found[0] == "format: encoder4editing, encoder_type Encoder4Editing"
    assert "encoder: e4e, input_channels 3, depth 50, widths [16, 32, 48, 64], num_ws 8, w_dim 32" in found[1]
    assert "encoder: no tensor is missing or unexpected" in found
    assert "generator: 32 px, 3 channels, num_ws 8, mapping of 2 layers, z 32, w 32" in found
    assert "generator: widths 4: 16, 8: 16, 16: 16, 32: 16" in found
    assert "generator: no tensor is missing or unexpected" in found
    assert "latent_avg: [8, 32]" in found
    assert "options: dataset_type ffhq_encode, start_from_latent_avg True" in found
    assert "besides the model: global_step" in found
    assert found[-1].startswith(f"tensors: {len(content['state_dict'])}, ")


def test_every_kind(published, lines):
    for kind, (name, *_) in published.kinds.items():
        found = lines(published.content(kind))
        assert any(line.startswith(f"encoder: {name}, ") for line in found), found
        assert sum(line.endswith("no tensor is missing or unexpected") for line in found) == 2, found


def test_what_is_missing_left_over_and_of_another_shape(published, lines):
    content = published.content("GradualStyleEncoder") | {"latent_avg": None}
    state = content["state_dict"]
    del state["encoder.body.5.res_layer.4.bias"], state["decoder.convs.1.noise.weight"]
    state |= {"encoder.stray": torch.ones(1), "decoder.odd": torch.ones(1), "encoder.latlayer1.bias": torch.ones(3)}
    found = lines(content)
    assert "encoder: 1 tensors missing: body.5.res_layer.4.bias" in found
    assert "encoder: 1 tensors unexpected: stray" in found
    assert "encoder: of another shape: latlayer1.bias" in found
    assert "generator: 1 tensors missing: convs.1.noise.weight" in found
    assert "generator: 1 tensors unexpected: odd" in found
    assert any(line.startswith("latent_avg: not in the file") for line in found)


def test_an_encoder_that_cannot_be_told_is_said_beside_the_rest(published, lines):
    found = lines(published.content("GradualStyleEncoder", encoder_type="Unheard"))
    assert "encoder: this is the file of an encoder of type Unheard" in found[0]
    assert "generator: 32 px, 3 channels, num_ws 8, mapping of 2 layers, z 32, w 32" in found
    content = published.content("GradualStyleEncoder")
    content["state_dict"] = {key: v for key, v in content["state_dict"].items() if not key.startswith("decoder.")}
    assert "generator: none" in lines(content)


def test_extra_heads(published, lines):
    found = lines(published.content("Encoder4Editing", num_ws=10))
    assert "encoder: the generator uses the first 8 of its 10 heads" in found
    assert "encoder: no tensor is missing or unexpected" in found


def test_generators_and_trunks(layouts, lines):
    state = layouts["fill"](layouts["decoder"](16, mapping_layers=8))
    found = lines({"g_ema": state})
    assert found[0] == "format: StyleGAN2 generator (rosinality)"
    assert "generator: 16 px, 3 channels, num_ws 6, mapping of 8 layers, z 32, w 32" in found
    assert "ArcFace IR-SE network" in lines(layouts["fill"](layouts["trunk"](widths=(16, 16, 16, 16))))[0]
    assert "of an unknown kind (dict: a, b)" in lines({"a": 1, "b": 2})[0]
    assert "of an unknown kind (Tensor" in lines(torch.ones(2))[0]


def test_a_checkpoint_of_this_package(published, tmp_path):
    model, _ = from_content(published.content("BackboneEncoder"))
    save_model(tmp_path / "ours.safetensors", model, {**model_metadata(model), "task": "inversion", "cur_step": 7})
    found = inspect(tmp_path / "ours.safetensors")
    assert found[0] == "format: checkpoint of this package, psp"
    assert found[1].startswith("encoder: name restyle, num_ws 8, ")
    assert found[2].startswith("generator: name stylegan2, img_resolution 32, ")
    assert found[3] == "training: task inversion, cur_step 7"


def test_what_is_no_file_or_damaged_is_said(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        inspect(tmp_path / "nothing.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match="is not a generator"):
        inspect(tmp_path / "text.pt")


@pytest.mark.parametrize(("name", "kind"), [("synthfaces64", "stylegan2"), ("synthfaces64_inversion", "psp")])
def test_a_shipped_model_is_found_by_its_name(name, kind):
    assert inspect(name)[0] == f"format: checkpoint of this package, {kind}"


def test_a_folder_stands_for_its_newest_checkpoint(tmp_path):
    checkpoint.save(tmp_path / "checkpoints" / "network_000000009.safetensors", {"x": torch.zeros(3)}, {"cur_nimg": 9})
    assert "training: cur_nimg 9" in inspect(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no checkpoint in the folder"):
        inspect(tmp_path / "empty")
    with pytest.raises(UserError, match=r"no shipped model of that name: .*synthfaces64, .*_inversion"):
        inspect("nothing")
