"""Networks compute on the GPU what they compute on the CPU: float32 without TF32, to 1e-4 of the largest output."""

import copy

import pytest
import torch

import stylegan2
from psp import loading
from psp.convert.onnx_export import parts_of
from psp.encoders import ENCODERS, encoder_for
from psp.model import PSp
from psp.perception import arcface, attributes, dlib_resnet, efficientnet_lite0, facenet, hed, inception, segmenter
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.runtime.device import place

TOLERANCE = 1e-4
SIZES = {"z_dim": 64, "w_dim": 64, "channel_base": 2048, "channel_max": 64, "mapping_layers": 4}


class FaceEmbedding(facenet.FaceNet):
    forward = facenet.FaceNet.embed


PERCEPTION = {
    "arcface": (arcface.ArcFace, 112),
    "attributes": (lambda: attributes.AttributeClassifier(["smile", "glasses"]), 64),
    "dlib": (dlib_resnet.DlibResNet, 150),
    "effnet": (efficientnet_lite0.EfficientNetLite0, 224),
    "facenet": (FaceEmbedding, 160),
    "hed": (hed.HED, 96),
    "inception": (inception.Inception, 128),
    "segmenter": (lambda: segmenter.Segmenter(19), 64),
}


def assert_agree(module, device, *inputs):
    """The module as it is, on the CPU and on the GPU, in evaluation mode."""
    module = module.eval().requires_grad_(False)
    expected = module(*inputs)
    placed = copy.deepcopy(module)
    place(placed, device)
    output = placed(*(x.to(device) for x in inputs))
    assert output.device.type == "cuda"
    assert torch.isfinite(expected).all()
    difference = float((output.cpu() - expected).abs().max() / expected.abs().max())
    assert difference < TOLERANCE


def disturbed(module):
    """With biases, noise strengths and normalizations that are not what they start with, so that all of them count."""
    for parameter in module.parameters():
        if parameter.ndim < 2:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("name", GENERATORS.names())
def test_generators(device, name):
    generator = disturbed(GENERATORS.build_from(name, {"img_resolution": 128, **SIZES}))
    assert_agree(generator, device, torch.randn(3, generator.z_dim))


@pytest.mark.parametrize("name", DISCRIMINATORS.names())
def test_discriminators(device, name):
    discriminator = disturbed(DISCRIMINATORS.build_from(name, {"img_resolution": 128, **SIZES}))
    assert_agree(discriminator, device, torch.randn(8, 3, 128, 128))


@pytest.mark.parametrize("name", sorted(ENCODERS.names()))
def test_encoders(device, name):
    light = name.startswith("light")
    generator = GENERATORS.build("stylegan2", 64 if light else 256, **{**SIZES, "w_dim": 64 if light else 512})
    encoder = disturbed(encoder_for(generator, name))
    size = encoder.input_size
    images = torch.randn(2, 3, size, size).clamp(-1, 1)
    assert_agree(encoder, device, *([images] * (2 if "restyle" in name else 1)))


@pytest.mark.parametrize("name", PERCEPTION)
def test_networks_that_look_at_an_image(device, name):
    if name == "facenet":
        pytest.importorskip("facenet_pytorch")
    build, size = PERCEPTION[name]
    assert_agree(build(), device, torch.randn(2, 3, size, size).clamp(-1, 1))


def test_a_model_on_the_gpu_is_exported_from_a_copy_on_the_cpu(device):
    model, _ = loading.load("synthfaces64_inversion")
    expected = {name: part.inputs for name, part in parts_of(model).items()}
    place(model, device)
    for name, part in parts_of(model).items():
        assert {tensor.device.type for tensor in part.module.state_dict().values()} == {"cpu"}
        for key, example in part.inputs.items():
            torch.testing.assert_close(example, expected[name][key])
    assert model.latent_avg.device.type == "cuda"


def test_a_generator_of_full_size(device):
    generator = disturbed(GENERATORS.build("stylegan2", 1024))
    assert_agree(generator, device, torch.randn(1, 512))


def test_the_shipped_pair(device):
    model, _ = loading.load("synthfaces64_inversion")
    assert isinstance(model, PSp)
    size = model.encoder.input_size
    assert_agree(model, device, torch.randn(4, 3, size, size).clamp(-1, 1))
    generator, _ = stylegan2.load("synthfaces64")
    assert_agree(generator, device, torch.randn(4, generator.z_dim))
