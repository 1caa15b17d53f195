"""Settings of GAN training: what is refused, what depends on the resolution, and which layers of D stay as they are."""

from dataclasses import replace

import pytest
import torch

from stylegan2.networks import growing, stylegan2
from stylegan2.networks.registry import GENERATORS
from stylegan2.networks.sizes import ARCHITECTURES
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import built_as
from stylegan2.training_settings import TrainingSettings, check_fit
from stylegan2.training_state import (
    build_state,
    freeze,
    is_of,
    schedule_learning_rate,
)

SIZES = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8, "mapping_layers": 2}
GROWING = {"grow_from": 4, "fade_nimg": 8, "stable_nimg": 8}


def networks():
    G, G_ema = (GENERATORS.build("stylegan", 16, **SIZES) for _ in range(2))
    return G, growing.Discriminator(16, 3, 128, 8), G_ema


@pytest.mark.parametrize(
    ("change", "intervals"),
    [
        ({"lazy_r1": False, "path_length_interval": 0}, (0, 0)),
        ({"r1_interval": 3, "path_length_interval": 0}, (0, 3)),
        ({"r1_interval": 3, "path_length_interval": 2}, (2, 3)),
        ({"loss": "wgan", "r1_interval": 3, "path_length_interval": 2}, (2, 0)),
    ],
)
def test_optimizers_are_corrected_for_lazy_phases_only(change, intervals):
    state = build_state(*networks(), TrainingSettings(**change))
    for optimizer, k in zip((state.opt_G, state.opt_D), intervals, strict=True):
        ratio = k / (k + 1) if k else 1.0
        (group,) = optimizer.param_groups
        assert (group["lr"], group["betas"][1]) == pytest.approx((0.002 * ratio, 0.99**ratio))
        assert group["betas"][0] == 0.0


def test_the_learning_rate_of_a_resolution():
    settings = TrainingSettings(**GROWING, learning_rate=0.1, learning_rates={8: 0.3}, r1_interval=3)
    state = build_state(*networks(), settings)
    for nimg, expected in ((0, 0.1), (8, 0.3), (23, 0.3), (24, 0.1)):
        state.cur_nimg = nimg
        schedule_learning_rate(state, settings)
        assert state.opt_G.param_groups[0]["lr"] == pytest.approx(expected * 4 / 5)
        assert state.opt_D.param_groups[0]["lr"] == pytest.approx(expected * 3 / 4)


def test_the_batch_of_a_resolution():
    settings = TrainingSettings(**GROWING, batch_size=5, batch_sizes={4: 8, 16: 2})
    sizes = [settings.batch_size_at(nimg, 16) for nimg in (0, 7, 8, 23, 24, 999)]
    assert sizes == [8, 8, 5, 5, 2, 2]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_freeze_from_the_image_inwards(architecture):
    block = ["conv0", "conv1"] + (["skip"] if architecture == "residual" else [])
    order = ["from_rgbs.0", *(f"blocks.0.{name}" for name in block)]
    order += ["from_rgbs.1"] * (architecture == "skip") + [f"blocks.1.{name}" for name in block]
    D = stylegan2.Discriminator(16, 3, 128, 8, architecture)
    for count in range(len(order) + 1):
        freeze(D, count)
        frozen = {name.rpartition(".")[0] for name, p in D.named_parameters() if not p.requires_grad}
        assert frozen == set(order[:count])
    with pytest.raises(UserError, match=f"freeze_d must be at most {len(order)}, the number of layers"):
        freeze(D, 99)


@pytest.mark.parametrize(
    ("grow_from", "grows", "has_styles", "words"),
    [
        (8, False, True, "full resolution from the beginning: leave out grow_from"),
        (6, True, True, "grow_from must be a power of two from 4 to 16, not 6"),
        (32, True, True, "grow_from must be a power of two from 4 to 16, not 32"),
        (2, True, True, "grow_from must be a power of two from 4 to 16, not 2"),
        (None, True, False, "styles cannot be mixed: use style_mixing 0"),
    ],
)
def test_settings_that_do_not_fit_the_generator_are_refused(grow_from, grows, has_styles, words):
    with pytest.raises(UserError, match=words):
        check_fit(TrainingSettings(grow_from=grow_from), 16, grows, has_styles)
    check_fit(TrainingSettings(grow_from=4, style_mixing=0.0), 16, True, False)


def test_only_a_generator_with_a_mapping_network_that_does_not_grow_can_train_it_alone():
    frozen = TrainingSettings(freeze_synthesis=True, style_mixing=0.0)
    with pytest.raises(UserError, match="has no mapping network that could be trained alone: leave out freeze_synth"):
        check_fit(frozen, 16, grows=True, has_styles=False)
    with pytest.raises(UserError, match="cannot grow: leave out grow_from or freeze_synthesis"):
        check_fit(replace(frozen, grow_from=4), 16, grows=True, has_styles=True)
    check_fit(frozen, 16, grows=True, has_styles=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": "least squares"}, "loss must be logistic or wgan or hinge, not 'least squares'"),
        ({"precision": "fp8"}, "there is no precision 'fp8': choose one of auto, fp32, tf32, bf16, fp16"),
        ({"batch_gpu": 0}, "batch_gpu must be at least 1, not 0"),
        ({"metrics_interval": 0}, "metrics_interval must be at least 1, not 0"),
        ({"stable_nimg": 0}, "stable_nimg must be at least 1, not 0"),
        ({"fade_nimg": -1}, "fade_nimg must not be negative, but is -1"),
        ({"gradient_penalty": -1.0}, "gradient_penalty must not be negative"),
        ({"batch_sizes": {8: 0}}, "batch_sizes must be pairs of a power of two and a positive number, not 8 0"),
        ({"batch_sizes": {12: 4}}, "batch_sizes must be pairs of a power of two and a positive number, not 12 4"),
        ({"learning_rates": {8: -0.1}}, "learning_rates must be pairs of a power of two and a positive number"),
        ({"freeze_d": -1}, "freeze_d must not be negative"),
    ],
)
def test_impossible_settings_are_refused(change, words):
    with pytest.raises(UserError, match=words):
        TrainingSettings(**change)


def test_a_checkpoint_of_an_older_version_is_of_the_same_architecture():
    """A setting that it does not know has its default."""
    G = GENERATORS.build("stylegan", 16, **SIZES)
    stored = {k: v for k, v in built_as(G).items() if k != "num_classes"}
    state = torch.get_rng_state()
    assert is_of(G, stored)
    assert torch.equal(torch.get_rng_state(), state)
    for other in ({"name": "stylegan2"}, {"num_classes": 2}, {"z_dim": 9}, {"img_resolution": 24}, {"colour": "red"}):
        assert not is_of(G, stored | other)
    assert not is_of(G, None)
