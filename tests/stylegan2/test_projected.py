"""The projected discriminator: what it sees, what stays constant, and that training with it resumes bit for bit."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from datasets.loader import stream_batches
from datasets.training_data import MirroredImages
from psp.perception.efficientnet_lite0 import load_efficientnet_lite0
from stylegan2.networks import projected
from stylegan2.networks.projected import Discriminator, Mixing, augment, cut_out, recolour, resize, translate
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError
from stylegan2.trainer import train
from stylegan2.training_settings import TrainingSettings

BATCH = 4


class Backbone(nn.Module):
    """A pyramid as EfficientNet-Lite0's, of random convolutions."""

    def __init__(self):
        super().__init__()
        sizes = [(3, 4, 4), (4, 5, 2), (5, 6, 2), (6, 7, 2)]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, stride, stride) for a, b, stride in sizes)
        self.register_buffer("shift", torch.tensor(0.1))

    def pyramid(self, images):
        maps, x = [], images + self.shift
        for layer in self.layers:
            x = layer(x).tanh()
            maps.append(x)
        return maps


def discriminator(**settings):
    torch.manual_seed(0)
    return Discriminator(Backbone(), **{"side": 64, **settings})


def seeded(function, *args, **named):
    torch.manual_seed(1)
    return function(*args, **named)


def picture(n=4, channels=3, side=16):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.mark.parametrize(("side", "logits"), [(64, 4), (128, 4), (160, 16), (224, 64)])
def test_logits_of_four_scales(side, logits):
    assert discriminator(side=side)(picture()).shape == (4, logits)


def test_a_samples_logits_are_its_own():
    """But for the draw of the augmentation, which is seeded here: no batch statistics anywhere."""
    D, images = discriminator().eval(), picture()
    other = images.clone()
    other[0] = 0.3
    one, two = seeded(D, images), seeded(D, other)
    torch.testing.assert_close(one[1:], two[1:])
    assert (one[0] - two[0]).abs().max() > 1e-3
    torch.testing.assert_close(one, seeded(D, images, parts=2))


def test_the_backbone_is_constant_and_in_no_checkpoint():
    D = discriminator()
    assert not any(name.startswith("backbone") for name in [*D.state_dict(), *dict(D.named_parameters())])
    assert {name for name, _ in D.named_buffers() if name.startswith("backbone")} >= {"backbone.shift"}
    D.double()
    assert D.backbone.layers[0].weight.dtype == torch.float64
    images = picture().double().requires_grad_()
    D(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in D.parameters())


def test_the_random_mixing_is_kept_and_does_not_learn():
    D, other = discriminator(), Discriminator(Backbone(), side=64)
    assert not any(name.startswith("mixing") for name, _ in D.named_parameters())
    assert not torch.equal(D.mixing.across_channels_0, other.mixing.across_channels_0)
    other.load_state_dict(D.state_dict())
    assert torch.equal(D.mixing.across_channels_0, other.mixing.across_channels_0)


def test_mixtures_hold_all_coarser_maps():
    torch.manual_seed(0)
    mixing = Mixing([4, 5, 6, 7])
    maps = [torch.randn(1, channels, 32 >> k, 32 >> k) for k, channels in enumerate((4, 5, 6, 7))]
    mixtures = mixing(maps)
    assert [tuple(x.shape[1:]) for x in mixtures] == [(64, 64, 64), (64, 32, 32), (128, 16, 16), (256, 8, 8)]
    for k in range(4):
        changed = mixing([x + (j == k) for j, x in enumerate(maps)])
        differs = [not torch.equal(a, b) for a, b in zip(mixtures, changed, strict=True)]
        assert differs == [j <= k for j in range(4)]


def test_mixing_keeps_the_variance():
    torch.manual_seed(0)
    mixtures = Mixing([24, 40, 112, 320])(
        [torch.randn(8, c, 16 >> k, 16 >> k) for k, c in enumerate((24, 40, 112, 320))]
    )
    assert 0.3 < float(mixtures[3].var()) < 1.2
    assert float(mixtures[0].var()) < 4


def test_gray_and_transparent_images():
    D, colour = discriminator().eval(), picture()
    gray = colour[:, :1]
    torch.testing.assert_close(seeded(D, gray), seeded(D, gray.repeat(1, 3, 1, 1)))
    torch.testing.assert_close(seeded(D, torch.cat([colour, gray], 1)), seeded(D, colour))
    with pytest.raises(UserError, match="1, 3 or 4 channels, not 2"):
        discriminator(img_channels=2)


@pytest.mark.parametrize("side", [32, 100])
def test_a_side_that_the_backbone_cannot_take(side):
    with pytest.raises(UserError, match="side of 64, 96"):
        discriminator(side=side)


def test_labels_change_the_logits():
    D, images = discriminator(num_classes=3).eval(), picture()
    one, two = (seeded(D, images, labels=torch.tensor(labels)) for labels in ([0, 1, 2, 0], [0, 1, 2, 1]))
    torch.testing.assert_close(one[:3], two[:3])
    assert not torch.allclose(one[3], two[3])
    with pytest.raises(UserError, match="conditioned on 3 classes"):
        D(images)


def test_heads_are_of_spectral_norm_one():
    D = discriminator()
    for _ in range(30):  # power iterations
        D(picture())
    for head in D.heads:
        for layer in [*head.layers, head.out]:
            if isinstance(layer, nn.Conv2d):
                assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2) == pytest.approx(1, abs=0.05)


# --- resampling and augmentation ---


@pytest.mark.parametrize(("size", "side"), [(16, 64), (64, 96), (64, 32), (16, 16)])
def test_resize_is_bilinear_and_antialiased(size, side):
    images = picture(side=size)
    expected = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
    torch.testing.assert_close(resize(images, side), expected, atol=1e-5, rtol=1e-5)


def draws(monkeypatch, *values):
    """Let the augmentation draw these numbers, [N] each, one after the other."""
    queue = [torch.tensor(value)[:, None] for value in values]
    monkeypatch.setattr(projected, "_uniform", lambda images: queue.pop(0))


def test_colours(monkeypatch):
    draws(monkeypatch, [0.75, 0.5], [0.5, 0.0], [0.5, 1.0])  # brightness, saturation, contrast
    images = picture(2)
    result = recolour(images)
    torch.testing.assert_close(result[0], images[0] + 0.25)
    gray = images[1].mean(0, keepdim=True).expand(3, -1, -1)
    torch.testing.assert_close(result[1], gray.mean() + 1.5 * (gray - gray.mean()))


def test_translation_is_by_whole_pixels_and_fills_with_zero(monkeypatch):
    draws(monkeypatch, [0.0, 0.5, 0.99], [0.99, 0.5, 0.5])  # rows, then columns
    images = picture(3)
    result = translate(images)
    torch.testing.assert_close(result[0, :, :14, 2:], images[0, :, 2:, :14])  # 2 up, 2 to the right
    assert result[0, :, 14:].abs().max() == result[0, :, :, :2].abs().max() == 0
    torch.testing.assert_close(result[1], images[1])
    torch.testing.assert_close(result[2, :, 2:], images[2, :, :14])  # 2 down


def test_cutout_paints_a_square(monkeypatch):
    draws(monkeypatch, [0.5, 0.0], [0.5, 1.0])
    result = cut_out(torch.ones(2, 1, 16, 16))[:, 0]
    assert result[0, 4:13, 4:13].abs().max() == 0
    assert int((result[0] == 0).sum()) == 81
    assert int((result[1] == 0).sum()) == 5 * 4  # the corner at the upper right


def test_augmentation_differs_between_samples_and_has_a_gradient():
    images = picture(1).repeat(6, 1, 1, 1).requires_grad_()
    result = seeded(augment, images)
    assert len({float(image.sum()) for image in result.detach()}) == 6
    (gradient,) = torch.autograd.grad(result.square().sum(), images)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()


# --- training ---


def batches(resolution):
    pixels = list(np.random.default_rng(0).integers(0, 256, (10, resolution, resolution, 3), np.uint8))
    return stream_batches(MirroredImages(pixels, True, 0), len(pixels), lambda _: BATCH, seed=0, workers=0)


def run(run_dir, generator=None, total=8 * BATCH, **changes):
    torch.manual_seed(0)
    build = generator or (
        lambda: GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2)
    )
    G, G_ema = build(), build()
    settings = {
        "total_nimg": total,
        "batch_size": BATCH,
        "loss": "hinge",
        "r1_interval": 0,
        "path_length_interval": 0,
        "log_interval": BATCH,
        "save_interval": 4 * BATCH,
        **changes,
    }
    torch.manual_seed(3)
    D = discriminator(side=64)
    return train(
        G=G,
        D=D,
        G_ema=G_ema,
        batches=batches(16),
        run_dir=run_dir,
        settings=TrainingSettings(**settings),
        device=torch.device("cpu"),
    )


def test_training_resumes_bit_for_bit(tmp_path):
    whole = checkpoint.read(run(tmp_path / "whole"))[0]
    run(tmp_path / "parts", total=4 * BATCH)
    resumed = checkpoint.read(run(tmp_path / "parts"))[0]
    assert set(whole) == set(resumed)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    start = checkpoint.read(tmp_path / "whole" / "checkpoints" / f"network-{4 * BATCH:09d}.safetensors")[0]
    learned = [name for name in whole if name.startswith("D.heads") and name.endswith("original")]
    assert learned
    assert all(not torch.equal(whole[name], start[name]) for name in learned)
    assert torch.equal(whole["D.mixing.across_channels_0"], start["D.mixing.across_channels_0"])


def test_a_growing_generator_learns_from_it(tmp_path):
    def build():
        return GENERATORS.build("pggan", 16, z_dim=8, channel_base=128, channel_max=8)

    growing = {"grow_from": 8, "fade_nimg": 2 * BATCH, "stable_nimg": 2 * BATCH, "style_mixing": 0.0}
    last = run(tmp_path, build, **growing)
    assert checkpoint.read(last)[1]["cur_nimg"] == 8 * BATCH


def test_it_looks_with_efficientnet_lite0():
    D = Discriminator(load_efficientnet_lite0(), side=128)
    maps = D.backbone.pyramid(torch.zeros(1, 3, 128, 128))
    assert [tuple(x.shape[1:]) for x in maps] == [(24, 32, 32), (40, 16, 16), (112, 8, 8), (320, 4, 4)]
    images = picture(2, side=64).requires_grad_()
    D(images).sum().backward()
    assert torch.isfinite(images.grad).all()
