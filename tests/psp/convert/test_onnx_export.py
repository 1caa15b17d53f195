"""Graphs agree with the networks for any batch, in both precisions, and say what they are; tracing takes its time."""

import json

import numpy as np
import pytest
import torch

import psp.convert.onnx_export as module
from psp import PSp
from psp.convert.onnx_export import TOLERANCE, export_part, metadata_of, parts_of
from psp.encoders import ENCODERS
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import CheckpointError, UserError

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
W_DIM = 8


def generator_of(name="stylegan2", side=16):
    torch.manual_seed(0)
    sizes = {"z_dim": W_DIM, "w_dim": W_DIM, "channel_base": 128, "channel_max": 8, "mapping_layers": 1}
    generator = GENERATORS.build_from(name, {"img_resolution": side, **sizes}).eval().requires_grad_(False)
    for layer in generator.synthesis.modules():
        if hasattr(layer, "noise_strength"):
            layer.noise_strength.fill_(0.1)
    return generator


def model_of(name, side=32):
    generator = generator_of(side=side)
    sizes = {"num_ws": generator.num_ws, "w_dim": W_DIM, "input_channels": 3, "input_size": side}
    more = {"feature_side": 8, "feature_channels": 8, "corrector_width": 32} if "feature" in name else {}
    encoder = ENCODERS.build(name, **sizes, **more)
    if more:
        torch.nn.init.normal_(encoder.corrector.out.weight, std=0.02)  # a fresh one corrects nothing
        encoder.conjugate_steps = 3  # which graphs leave out
    return PSp(encoder, generator, torch.randn(W_DIM)).eval().requires_grad_(False)


def run(path, inputs, names):
    return onnxruntime.InferenceSession(path).run(names, {key: value.numpy() for key, value in inputs.items()})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["light", "light_restyle", "light_feature", "light_feature_gradient"])
def test_encoder_generator_and_both_agree_for_any_batch(tmp_path, name):
    model = model_of(name)
    parts = parts_of(model)
    assert list(parts) == ["encoder", "generator", "model"]
    for part in parts.values():
        assert export_part(part, tmp_path / f"{part.name}.onnx", metadata_of(model, {}, part, False)) < TOLERANCE
    source = torch.rand(5, 3, 32, 32) * 2 - 1  # a batch and numbers that the export did not see
    codes = model.make_passes(source)
    outputs = ["w_plus"] if codes.features is None else ["w_plus", "features"]
    found = run(tmp_path / "encoder.onnx", {"source": source}, outputs)
    for output, expected in zip(found, [codes.w_plus, codes.features], strict=False):
        np.testing.assert_allclose(output, expected, atol=1e-4)
    inputs = {name: getattr(codes, name) for name in outputs}
    [images] = run(tmp_path / "generator.onnx", inputs, ["images"])
    np.testing.assert_allclose(images, model.decode(codes), atol=1e-4)
    [images] = run(tmp_path / "model.onnx", {"source": source}, ["images"])
    np.testing.assert_allclose(images, model.decode(codes), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stylegan2", "stylegan", "pggan"])
def test_a_generator_alone_has_its_mapping(tmp_path, name):
    generator = generator_of(name)
    for part in parts_of(generator).values():
        export_part(part, tmp_path / f"{part.name}.onnx", metadata_of(generator, {}, part, False))
    z = torch.randn(4, generator.z_dim)
    [w_plus] = run(tmp_path / "mapping.onnx", {"z": z}, ["w_plus"])
    [images] = run(tmp_path / "generator.onnx", {"w_plus": torch.from_numpy(w_plus)}, ["images"])
    np.testing.assert_allclose(images, generator(z, noise_mode="const"), atol=1e-4)


@pytest.mark.slow
def test_half_precision_computes_in_float16(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = model_of("light")
    parts = parts_of(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in ("encoder", "generator"):
        about = metadata_of(model, {"task": "inversion", "licence": "MIT"}, parts[name], True)
        difference = export_part(parts[name], tmp_path / f"{name}.onnx", about, half=True)
        assert 1e-6 < difference < 1e-2
        graph = onnx.load(tmp_path / f"{name}.onnx")
        kinds = {tensor.data_type for tensor in graph.graph.initializer}
        casts = [node for node in graph.graph.node if node.op_type == "Cast"]
        assert onnx.TensorProto.FLOAT16 in kinds or casts
        assert all(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for value in graph.graph.input)
        assert all(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for value in graph.graph.output)
        properties = {entry.key: entry.value for entry in graph.metadata_props}
        assert (properties["part"], properties["precision"]) == (name, "float16")
        assert (properties["task"], properties["licence"]) == ("inversion", "MIT")
        assert json.loads(properties["encoder"])["name"] == "light"
        assert properties["w_plus"] == f"[N, {model.generator.num_ws}, {W_DIM}]"
    for key, tensor in model.state_dict().items():  # the model itself stays as it was
        assert tensor.dtype == before[key].dtype
        assert torch.equal(tensor, before[key])


@pytest.mark.slow
def test_a_graph_that_does_not_agree_is_not_kept(tmp_path, monkeypatch):
    part = parts_of(generator_of())["mapping"]
    honest = module._reference
    monkeypatch.setattr(module, "_reference", lambda *given: [output + 1e-3 for output in honest(*given)])
    with pytest.raises(CheckpointError, match="the graph of the mapping differs from PyTorch by .*was not written"):
        export_part(part, tmp_path / "mapping.onnx", {})
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_said(tmp_path, monkeypatch):
    classes = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8, "num_classes": 3}
    with pytest.raises(UserError, match="conditioned on classes cannot be exported"):
        parts_of(GENERATORS.build("stylegan2", 16, **classes))
    part = parts_of(generator_of())["mapping"]
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(UserError, match="the export needs onnxscript, which is not installed: pip install onnx"):
        export_part(part, tmp_path / "mapping.onnx", {})
