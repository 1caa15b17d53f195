"""translate: every image gives one result, in order, whatever the batch size and the source's size and channels."""

import numpy as np
import pytest
import torch
from PIL import Image

from psp import PSp
from psp.encoders import build_encoder
from psp.translate import prepare, translate
from stylegan2.networks.stylegan2 import Generator
from stylegan2.runtime.errors import UserError

SIZE = 32


def tiny_model(input_channels=3, img_channels=3):
    torch.manual_seed(1)
    generator = Generator(32, img_channels, z_dim=16, w_dim=16, channel_base=256, channel_max=16, mapping_layers=1)
    encoder = build_encoder("light", num_ws=generator.num_ws, w_dim=16, input_channels=input_channels, input_size=SIZE)
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
    codes = np.concatenate([batch.codes for batch in batches])
    assert codes.dtype == np.float32
    assert codes.shape == (7, model.generator.num_ws, 16)
    with torch.no_grad():
        expected = torch.cat([model.encode(source[None]) for source in sources])
        images = model.decode(expected).clamp(-1, 1)
    np.testing.assert_allclose(codes, expected.numpy(), atol=1e-5)
    torch.testing.assert_close(torch.cat([batch.images for batch in batches]), images, atol=1e-4, rtol=0)


def test_codes_differ_between_sources(model, sources):
    (batch,) = translate(model, sources, 7)
    assert np.abs(batch.codes[0] - batch.codes[1]).max() > 1e-4


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
    first = next(translate(model, sources, 7)).codes
    assert not model.training
    np.testing.assert_array_equal(first, next(translate(model, sources, 7)).codes)


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
