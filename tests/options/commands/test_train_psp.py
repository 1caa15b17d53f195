"""Default settings for training an encoder, which depend on the size of its generator."""

import pytest
import torch

import stylegan2
from options.commands.train_psp import LARGEST_LIGHT, PSP, psp_settings
from psp.encoders import LIGHT_MAX
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError

LIGHT = {"batch_size": 16, "learning_rate": 1e-3, "decay_from": 0.3, "max_steps": 30_000}


@pytest.fixture
def large(tmp_path):
    """Provide the file of a generator of 256 px."""
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 8, "mapping_layers": 1}
    stylegan2.save_generator(tmp_path / "large.safetensors", GENERATORS.build("stylegan2", 256, **sizes), {})
    return str(tmp_path / "large.safetensors")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"--stylegan_weights": "portraits64"},
        {"--checkpoint_path": "synthfaces64_inversion"},
        {"--encoder_type": "light_w"},
        {"--exp_dir": "nowhere"},
    ],
)
def test_a_light_encoder_is_trained_shortly(given):
    settings = psp_settings(given)
    assert {name: settings[name] for name in LIGHT} == LIGHT
    assert "encoder_type" not in settings


def test_light_encoders_are_those_that_auto_builds():
    assert LARGEST_LIGHT == LIGHT_MAX


def test_deltas_begin_to_learn_at_the_same_share():
    settings = psp_settings({"--encoder_type": "light_e4e"})
    assert (settings["progressive_start"], settings["max_steps"], "encoder_type" in settings) == (3_000, 30_000, False)


def test_the_papers_settings_are_for_its_encoder_and_large_generators(large):
    assert psp_settings({"--stylegan_weights": large}) == {}
    assert psp_settings({"--encoder_type": "gradual"}) == {}
    assert psp_settings({"--stylegan_weights": "nothing"}) == {}  # the command says so itself


def test_a_named_preset_is_taken_as_it_is():
    assert psp_settings({"--preset": "demo"}) == PSP["demo"]
    with pytest.raises(UserError, match="there is no preset 'huge': choose one of demo, "):
        psp_settings({"--preset": "huge"})


def test_a_run_of_an_earlier_version_goes_on_as_it_began(tmp_path):
    path = tmp_path / "checkpoints" / "iteration_000000009.safetensors"
    checkpoint.save(path, {"x": torch.zeros(1)}, {"settings": {"max_steps": 300_000}})
    assert psp_settings({"--exp_dir": str(tmp_path)}) == {}
