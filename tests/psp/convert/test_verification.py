"""Files give here what the published formulas give."""

import resource

import pytest
import torch

from psp.convert import verify
from psp.convert.formula import Parameters, decoder, encoder, inversions, stretch
from psp.convert.official import from_content
from psp.convert.verification import picture
from stylegan2.runtime.registry import built_as

KINDS = ["GradualStyleEncoder", "Encoder4Editing", "BackboneEncoder", "ProgressiveBackboneEncoder",
         "ResNetBackboneEncoder", "ResNetProgressiveBackboneEncoder", "BackboneEncoderUsingLastLayerIntoW",
         "BackboneEncoderUsingLastLayerIntoWPlus"]  # fmt: skip
ITERATIVE = [kind for kind in KINDS if kind.endswith("BackboneEncoder")]


@pytest.fixture
def check(tmp_path):
    def check(content, **settings):
        torch.save(content, tmp_path / "model.pt")
        return list(verify(tmp_path / "model.pt", **settings))

    return check


@pytest.mark.parametrize("kind", KINDS)
def test_codes_and_image_equal_the_published_formula(published, check, kind):
    results = check(published.content(kind))
    assert all(result.passed for result in results), results
    measured = [result.text.split(":")[0] for result in results if "largest difference" in result.text]
    codes = [f"codes of pass {n}" for n in range(1, 6)] if kind in ITERATIVE else ["codes"]
    assert measured == [*codes, "image of 32 px"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_model_equals_the_whole_formula(published, kind):
    content = published.content(kind)
    model, _ = from_content(content)
    name, size = built_as(model.encoder)["name"], model.encoder.input_size
    images = torch.rand(2, 3, size, size, dtype=torch.float64) * 2 - 1
    passes = model.iterations if kind in ITERATIVE else 0
    sizes = (name.endswith("e4e"), passes, torch.float64)
    *_, (codes, image) = inversions(content["state_dict"], images, model.latent_avg, *sizes)
    with torch.no_grad():
        torch.testing.assert_close(model.double().encode(images).w_plus, codes, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(model(images), image, rtol=1e-6, atol=1e-6)


def test_the_first_files_for_cars(published, check):
    results = check(published.content("Encoder4Editing", num_ws=10, stylegan_size=32))
    assert all(result.passed for result in results)
    assert any("the generator uses the first 8 of its 10 heads" in result.text for result in results)


def test_a_file_without_noise_maps_or_average(published, check):
    content = published.content("GradualStyleEncoder") | {"latent_avg": None}
    content["state_dict"] = {key: value for key, value in content["state_dict"].items() if ".noises." not in key}
    results = check(content)
    assert all(result.passed for result in results)
    assert sum("the file contains no" in result.text for result in results) == 2


def test_a_generator_alone(layouts, check):
    state = layouts["fill"](layouts["decoder"](32, {4: 24, 8: 24, 16: 12, 32: 6}.get, mapping_layers=3))
    results = check({"g_ema": state, "latent_avg": torch.zeros(32)})
    assert all(result.passed for result in results)
    assert [result.text.split(":")[0] for result in results[1:]] == ["w", "truncated w", "image of 32 px"]


@pytest.mark.parametrize("kind", ["Encoder4Editing", "ResNetBackboneEncoder", "BackboneEncoderUsingLastLayerIntoWPlus"])
def test_a_model_that_computes_something_else_fails(published, check, kind, monkeypatch):
    content = published.content(kind)
    assert all(result.passed for result in check(content))
    build = from_content

    def wrong(content):
        model, metadata = build(content)
        model.encoder = _Shifted(model.encoder)
        return model, metadata

    monkeypatch.setattr("psp.convert.verification.from_content", wrong)
    results = check(content)
    codes, image = (result for result in results[-2:])
    assert not codes.passed
    assert image.passed  # it is the generator's


class _Shifted(torch.nn.Module):
    """An encoder whose first row is off by a thousandth of the largest code."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        for name in (
            "num_ws",
            "input_size",
            "input_channels",
            "reads_rendering",
            "iterations",
            "corrects_features",
            "reads_gradient",
        ):
            setattr(self, name, getattr(encoder, name))

    def forward(self, *args):
        codes = self.encoder(*args).clone()
        codes[:, 0] += 1e-3 * codes.abs().max().clamp(min=1)
        return codes


def test_a_file_that_cannot_be_read_fails_with_the_reason(published, check, tmp_path):
    content = published.content("Encoder4Editing")
    del content["state_dict"]["encoder.body.5.res_layer.4.bias"]
    (result,) = check(content)
    assert not result.passed
    assert "1 missing: body.5.res_layer.4.bias" in result.text
    (tmp_path / "damaged.pt").write_bytes(b"PK\x03\x04")
    (result,) = verify(tmp_path / "damaged.pt")
    assert not result.passed


def test_nan_does_not_pass(published, check):
    content = published.content("GradualStyleEncoder")
    content["state_dict"]["encoder.styles.0.linear.bias"][0] = torch.nan
    assert not all(result.passed for result in check(content))


def test_stretching_is_bilinear():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    for size, corners in ((8, True), (8, False), (16, True)):
        expected = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", align_corners=corners)
        torch.testing.assert_close(stretch(x, size, corners), expected)


def test_deeper_trunks_equal_the_formula_too(layouts):
    """The published code has no 100 and 152 layers with the right taps; ours take the ends of the stages."""
    from psp.encoders.gradual import GradualStyleEncoder

    for depth in (100, 152):
        model = GradualStyleEncoder(8, 16, input_size=32, depth=depth, widths=(16, 16, 16, 16), head_width=8)
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        model.load_state_dict(layouts["fill"](shapes))
        images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
        with torch.no_grad():
            expected = encoder(Parameters(model.state_dict(), "", torch.float64), images, 8, deltas=False)
            torch.testing.assert_close(model.double().eval()(images), expected, rtol=1e-6, atol=1e-6)


def test_the_formula_of_the_generator_counts_every_tensor(layouts):
    """So that a tensor which the formula forgets cannot be wrong in ours unnoticed."""
    state = layouts["fill"](layouts["decoder"](16))
    ws = torch.randn(1, 6, 32)
    image = decoder(Parameters(state, "", torch.float32), ws)
    for key in state:
        if key.startswith("style.") or key.endswith("kernel"):
            continue
        changed = decoder(Parameters(state | {key: state[key] + 0.5}, "", torch.float32), ws)
        assert not torch.allclose(changed, image, atol=1e-4), key


@pytest.mark.slow
def test_the_published_size_of_1024_px_and_18_rows(layouts):
    """Exactly the keys and shapes of the published files for faces; the whole way from an image to an image."""
    state = layouts["fill"](layouts["encoder"](18), "encoder.")
    decoder_layout = layouts["decoder"](1024, layouts["published_width"], w_dim=512, mapping_layers=8)
    state |= layouts["fill"](decoder_layout, "decoder.", seed=1)
    assert sum(key.startswith("encoder.") for key in state) == 621
    assert sum(key.startswith("decoder.") for key in state) == 171
    options = {"encoder_type": "Encoder4Editing", "stylegan_size": 1024, "start_from_latent_avg": True}
    model, _ = from_content({"state_dict": state, "opts": options, "latent_avg": torch.randn(18, 512)})
    images = picture(3, 256)
    with torch.no_grad():
        ours = model(images)
    ((codes, image),) = inversions(state, images, model.latent_avg, deltas=True, passes=0)
    assert ours.shape == (1, 3, 1024, 1024)
    assert image.std() > 0.1
    assert codes.std(1).mean() > 0.1
    assert (ours - image).abs().max() <= 1e-4 * max(1, image.abs().max())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 6 * 2**20  # KiB
