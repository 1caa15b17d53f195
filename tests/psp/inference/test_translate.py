"""translate: every image gives one result, in order, whatever the batch size and the source's size and channels."""

import numpy as np
import pytest
import torch
from PIL import Image

from psp import PSp
from psp.encoders import ENCODERS, encoder_for
from psp.inference.translate import Refinement, prepare, translate, tune_for
from psp.losses import WeightedLosses
from psp.losses.l2 import L2
from psp.mixing import Mixing, mask_rows, random_styles
from psp.model import Codes
from psp.optimize import FEATURE_L2, optimize_codes, tune_generator
from stylegan2.latents.sampling import render
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import UserError

SIZE = 32


def tiny_model(input_channels=3, img_channels=3):
    torch.manual_seed(1)
    generator = GENERATORS.build(
        "stylegan2", 32, img_channels, z_dim=16, w_dim=16, channel_base=256, channel_max=16, mapping_layers=1
    )
    encoder = ENCODERS.build("light", num_ws=generator.num_ws, w_dim=16, input_channels=input_channels, input_size=SIZE)
    return PSp(encoder, generator, torch.randn(16)).eval()


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def sources():
    return list(torch.rand(7, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) * 2 - 1)


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (50, [7])])
def test_results_are_those_of_the_model_in_any_batch(model, sources, batch_size, sizes):
    batches = list(translate(model, sources, batch_size))
    assert [len(batch.images) for batch in batches] == sizes
    codes = torch.cat([batch.codes.w_plus for batch in batches]).numpy()
    assert codes.dtype == np.float32
    assert codes.shape == (7, model.generator.num_ws, 16)
    with torch.no_grad():
        expected = torch.cat([model.encode(source[None]).w_plus for source in sources])
        images = model.decode(expected).clamp(-1, 1)
    np.testing.assert_allclose(codes, expected.numpy(), atol=1e-5)
    torch.testing.assert_close(torch.cat([batch.images for batch in batches]), images, atol=1e-4, rtol=0)


def test_codes_differ_between_sources(model, sources):
    (batch,) = translate(model, sources, 7)
    assert (batch.codes.w_plus[0] - batch.codes.w_plus[1]).abs().max() > 1e-4


def test_it_streams(model, sources):
    """No source is taken before its batch is wanted."""
    taken = []

    def stream():
        for source in sources:
            taken.append(1)
            yield source

    results = translate(model, stream(), 2)
    assert not taken
    next(results)
    assert len(taken) == 2
    next(results)
    assert len(taken) == 4


def test_nothing_in_nothing_out(model):
    assert list(translate(model, [], 4)) == []


def test_the_model_is_evaluated_not_trained(model, sources):
    model.train()
    first = next(translate(model, sources, 7)).codes.w_plus
    assert not model.training
    np.testing.assert_array_equal(first, next(translate(model, sources, 7)).codes.w_plus)


def test_noise_mode_reaches_the_generator(model, sources):
    with torch.no_grad():
        for layer in model.generator.synthesis.layers:
            layer.noise_strength.fill_(1.0)
    first, second = (next(translate(model, sources[:1], noise_mode="random")).images for _ in range(2))
    assert (first - second).abs().max() > 1e-3
    first, second = (next(translate(model, sources[:1])).images for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("shape", "box"), [((97, 97), (0, 0, 97, 97)), ((90, 120), (15, 0, 105, 90)), ((64, 40), (0, 12, 40, 52))]
)
def test_prepare_takes_the_centre_square_and_antialiases(shape, box):
    """Pillow's own bicubic reduction of the same square, on a picture that aliases without a filter."""
    pixels = np.random.default_rng(0).integers(64, 192, (*shape, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1
    prepared = prepare(image, 3, SIZE)
    expected = np.asarray(Image.fromarray(pixels).crop(box).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    assert prepared.shape == (3, SIZE, SIZE)
    difference = (prepared.permute(1, 2, 0).numpy() + 1) * 127.5 - expected
    assert np.abs(difference).max() < 1.5


def test_prepare_leaves_a_fitting_source_alone():
    image = torch.rand(3, SIZE, SIZE)
    assert torch.equal(prepare(image, 3, SIZE), image)


def test_channels():
    gray, rgb = torch.rand(1, 40, 40), torch.rand(3, SIZE, SIZE)
    assert torch.equal(prepare(gray, 3, SIZE)[0], prepare(gray, 3, SIZE)[2])
    luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    torch.testing.assert_close(prepare(rgb, 1, SIZE)[0], luma)
    with pytest.raises(UserError, match="19 channels"):
        prepare(rgb, 19, SIZE)


def test_an_encoder_of_many_labels_and_a_gray_generator():
    labels = torch.eye(5)[torch.randint(5, (SIZE, SIZE))].permute(2, 0, 1)
    (batch,) = translate(tiny_model(5, 1), [labels])
    assert batch.images.shape == (1, 1, 32, 32)


@pytest.mark.parametrize("source", [torch.zeros(1, 3, 8, 8), torch.zeros(8, 8), torch.zeros(3, 0, 8)])
def test_a_source_that_is_no_image(model, source):
    with pytest.raises(UserError, match="is an image"):
        list(translate(model, [source]))


def test_batch_size_is_checked(model):
    with pytest.raises(UserError, match="batch size"):
        list(translate(model, [], 0))


# ---------------------------------------------------------------------------- mixing and refinement


def everything(model, sources, batch_size, **settings):
    batches = list(translate(model, sources, batch_size, **settings))
    return torch.cat([batch.images for batch in batches]), torch.cat([batch.codes.w_plus for batch in batches]).numpy()


def test_several_outputs_follow_the_formula(model, sources):
    """Coarse rows from the encoder, masked ones alpha * style + (1 - alpha) * code; the noise is the stored one."""
    images, codes = everything(model, sources[:2], 8, mixing=Mixing("fine", outputs=3, alpha=0.7, seed=4))
    rows, styles = mask_rows("fine", model.generator.num_ws), random_styles(model.generator, 3, 4)
    assert images.shape == (6, 3, 32, 32)
    with torch.no_grad():
        w_plus = model.encode(torch.stack(sources[:2])).w_plus
        for n, k in np.ndindex(2, 3):
            expected = w_plus[n].clone()
            expected[rows] = 0.7 * styles[k] + 0.3 * w_plus[n, rows]
            np.testing.assert_allclose(codes[3 * n + k], expected.numpy(), atol=1e-5)
            rendered = model.decode(expected[None]).clamp(-1, 1)[0]
            torch.testing.assert_close(images[3 * n + k], rendered, atol=1e-4, rtol=0)
    assert np.abs(codes[0] - codes[1]).max() > 1e-2


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_seeds_give_the_same_outputs_in_any_batch(model, sources, batch_size):
    mixing = Mixing("medium,fine", outputs=3, seed=1)
    images, codes = everything(model, sources, batch_size, mixing=mixing)
    again = everything(model, sources[3:], 2, mixing=mixing)
    torch.testing.assert_close(again[0], images[9:], atol=1e-4, rtol=0)
    np.testing.assert_allclose(again[1], codes[9:], atol=1e-5)
    fewer = everything(model, sources, 2, mixing=Mixing("medium,fine", outputs=1, seed=1))
    np.testing.assert_allclose(fewer[1], codes[::3], atol=1e-5)
    other = everything(model, sources, 2, mixing=Mixing("medium,fine", outputs=3, seed=2))
    assert np.abs(other[1] - codes).max() > 1e-2


def test_a_mask_beyond_the_generator(model, sources):
    with pytest.raises(UserError, match="rows of this generator are 0 to 7"):
        next(translate(model, sources, mixing=Mixing("8-17")))


def l2():
    return WeightedLosses({"l2": (L2(), 1.0)})


def distances(images, sources):
    return (images - torch.stack(sources)).square().mean([1, 2, 3])  # [N]


def test_refinement_brings_every_image_closer(model, sources):
    plain, _ = everything(model, sources[:3], 3)
    images, codes = everything(model, sources[:3], 3, refinement=Refinement(l2(), steps=15))
    assert (distances(images, sources[:3]) < 0.9 * distances(plain, sources[:3])).all()
    with torch.no_grad():
        torch.testing.assert_close(model.decode(torch.from_numpy(codes)).clamp(-1, 1), images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("settings", [{"steps": 6}, {"pivotal_steps": 3}, {"steps": 2, "pivotal_steps": 2}])
def test_refinement_does_not_depend_on_the_batch(model, sources, settings):
    images, codes = everything(model, sources[:3], 3, refinement=Refinement(l2(), **settings))
    alone = [everything(model, [source], 1, refinement=Refinement(l2(), **settings)) for source in sources[:3]]
    torch.testing.assert_close(images, torch.cat([a for a, _ in alone]), rtol=0, atol=5e-3)
    np.testing.assert_allclose(codes, np.concatenate([c for _, c in alone]), atol=5e-3)


class Brightness(torch.nn.Module):
    """A loss that is not the squared error of pixels."""

    inputs, name = ("output", "target"), "brightness"

    def forward(self, output, target):
        return (output.mean([1, 2, 3]) - target.mean([1, 2, 3])).square()  # [N]


def test_refinement_of_features_weighs_the_squared_error_more(sources):
    torch.manual_seed(1)
    generator = tiny_model().generator
    model = PSp(encoder_for(generator, "light_feature", 3), generator).eval()
    losses = WeightedLosses({"l2": (L2(), 1.0), "brightness": (Brightness(), 0.5)})
    (batch,) = translate(model, sources[:2], refinement=Refinement(losses, steps=5))
    target, first = torch.stack(sources[:2]), model.encode(torch.stack(sources[:2])).map(torch.Tensor.detach)
    assert first.features is not None
    found = optimize_codes(generator, target, losses.weighed({"l2": FEATURE_L2}), first, 5)
    torch.testing.assert_close(batch.codes.features, found.features, atol=1e-4, rtol=0)
    equal = optimize_codes(generator, target, losses, first, 5)
    assert (equal.features - found.features).abs().max() > 1e-3
    tuned = tune_for(generator, sources[:1], first.map(lambda code: code[:1]), Refinement(losses, pivotal_steps=3))
    weighed = losses.weighed({"l2": FEATURE_L2})
    expected = tune_generator(generator, target[:1], first.map(lambda code: code[:1]), weighed, 3)
    torch.testing.assert_close(tuned.state_dict(), expected.state_dict())
    model.iterations = 1  # codes in W+ keep the weights
    (batch,) = translate(model, sources[:2], refinement=Refinement(losses, steps=5))
    found = optimize_codes(generator, target, losses, Codes(first.w_plus), 5)
    torch.testing.assert_close(batch.codes.w_plus, found.w_plus, atol=1e-4, rtol=0)


def test_pivotal_tuning_renders_with_generators_of_its_own(model, sources):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plain, plain_codes = everything(model, sources[:2], 2)
    batches = list(translate(model, sources[:2], 2, refinement=Refinement(l2(), pivotal_steps=25)))
    assert [len(batch.generators) for batch in batches] == [1, 1]
    for n, batch in enumerate(batches):
        np.testing.assert_allclose(batch.codes.w_plus[0], plain_codes[n], atol=1e-5)
        assert distances(batch.images, [sources[n]]) < 0.99 * distances(plain[n : n + 1], [sources[n]])
        rendered = render(batch.generators[0], batch.codes.w_plus)
        torch.testing.assert_close(rendered, batch.images, atol=1e-4, rtol=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_mixing_and_tuning_together(model, sources):
    (batch,) = translate(
        model, sources[:1], mixing=Mixing("fine", 2, 0.5), refinement=Refinement(l2(), pivotal_steps=2)
    )
    assert len(batch.images) == len(batch.codes.w_plus) == 2
    torch.testing.assert_close(render(batch.generators[0], batch.codes.w_plus), batch.images)


def test_bf16_is_near_and_checked_once(model, sources, capsys):
    exact, _ = everything(model, sources, 2)
    images, codes = everything(model, sources, 2, precision="bf16")
    assert images.dtype == torch.float32
    assert codes.dtype == np.float32
    difference = (images - exact).abs().mean() * 127.5
    assert 0 < difference < 2
    assert capsys.readouterr().out.count("bf16 differs from fp32") == 1
    with pytest.raises(UserError, match="fp8"):
        next(translate(model, sources, precision="fp8"))


def test_many_pixels_are_rendered_in_parts(model, monkeypatch):
    codes, seen = torch.randn(5, model.generator.num_ws, 16), []
    whole = render(model.generator, codes)
    synthesis = model.generator.synthesis.forward
    monkeypatch.setattr(
        model.generator.synthesis, "forward", lambda ws, noise_mode: seen.append(len(ws)) or synthesis(ws, noise_mode)
    )
    monkeypatch.setattr("stylegan2.latents.sampling.PIXELS_AT_ONCE", 2 * 32 * 32 + 5)
    torch.testing.assert_close(render(model.generator, codes), whole, atol=1e-5, rtol=0)
    assert seen == [2, 2, 1]
