"""Export encoder and generator as ONNX graphs, for onnxruntime in any language and in the browser.

Inputs and outputs are float32 with a variable batch size. onnxruntime runs each graph, and it is kept only if the
results agree with PyTorch. Steps of conjugate gradients are left out, since each of them would be as large as a
generator in the graph and multiplies the differences of rounding.
"""

import copy
import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from psp.model import Codes, PSp, rendered
from stylegan2.latents.sampling import device_of, seeded_z
from stylegan2.networks.precision import set_precision
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.files import atomic_file, make_folder, writing
from stylegan2.runtime.registry import built_as

OPSET = 20
TOLERANCE, HALF_TOLERANCE = 1e-4, 3e-2  # difference between onnxruntime and PyTorch, relative to the largest value or 1
BATCH = 2  # batch size of the examples; 1 and 3 are compared too
LARGEST = 2**31  # bytes of a protobuf file


@dataclass(frozen=True)
class Part:
    """A part of a model that becomes one graph."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    """examples by name, the batch first"""
    outputs: tuple[str, ...]
    ranges: dict[str, str]
    """description of each input and output, for people"""


class EncoderPart(nn.Module):
    """The encoder, which maps images to codes in all its passes."""

    def __init__(self, model: PSp) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map [N, C, S, S] to w_plus [N, num_ws, w_dim], and features [N, C', r, r] where the encoder corrects them."""
        codes = self.model.make_passes(images)
        return codes.w_plus if codes.features is None else (codes.w_plus, codes.features)


class ModelPart(nn.Module):
    """Encoder and generator: images to renderings."""

    def __init__(self, model: PSp) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, C, S, S] to [N, img_channels, R, R]."""
        return self.model.decode(self.model.make_passes(images))


class GeneratorPart(nn.Module):
    """Codes to images."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, w_plus: Tensor, features: Tensor | None = None) -> Tensor:
        """Map w_plus [N, num_ws, w_dim] and corrections of features to [N, img_channels, R, R]."""
        return rendered(self.generator, Codes(w_plus, features)).float()


class MappingPart(nn.Module):
    """The mapping network, which maps random numbers to codes."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor) -> Tensor:
        """Map z [N, z_dim] to w_plus [N, num_ws, w_dim], without truncation."""
        return self.generator.mapping(z)


def parts_of(model: PSp | Generator) -> dict[str, Part]:
    """Return the parts of a model: encoder, generator and both as "model", or a generator's mapping and synthesis.

    A model on another device is copied to the CPU, where the graphs are traced and compared.

    Raises:
        UserError: The generator is conditioned on classes.
    """
    generator = model.generator if isinstance(model, PSp) else model
    if generator.num_classes:
        raise UserError("a generator that is conditioned on classes cannot be exported")
    if device_of(generator).type != "cpu":
        return parts_of(copy.deepcopy(model).to("cpu"))
    z = seeded_z(generator, range(BATCH))  # [N, z_dim]
    with torch.no_grad():
        w_plus = generator.mapping(z)  # [N, num_ws, w_dim]
    side, channels = generator.img_resolution, generator.img_channels
    ranges = {
        "w_plus": f"[N, {generator.num_ws}, {generator.w_dim}]",
        "images": f"[N, {channels}, {side}, {side}], about -1 to 1: clamp",
        "z": f"[N, {generator.z_dim}], drawn from the normal distribution",
    }
    if not isinstance(model, PSp):
        return {
            "mapping": Part("mapping", MappingPart(model), {"z": z}, ("w_plus",), ranges),
            "generator": Part("generator", GeneratorPart(model), {"w_plus": w_plus}, ("images",), ranges),
        }
    encoder = model.encoder
    shape = (BATCH, encoder.input_channels, encoder.input_size, encoder.input_size)
    source = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1  # [N, C, S, S]
    ranges["source"] = f"[N, {', '.join(map(str, shape[1:]))}], -1 to 1"
    with torch.no_grad():
        features = model.make_passes(source).features
    codes = {"w_plus": w_plus} if features is None else {"w_plus": w_plus, "features": features}
    if features is not None:
        ranges["features"] = f"[N, {', '.join(map(str, features.shape[1:]))}]"
    return {
        "encoder": Part("encoder", EncoderPart(model), {"source": source}, tuple(codes), ranges),
        "generator": Part("generator", GeneratorPart(generator), codes, ("images",), ranges),
        "model": Part("model", ModelPart(model), {"source": source}, ("images",), ranges),
    }


def export_part(part: Part, path: Path, about: Mapping[str, object], half: bool = False) -> float:
    """Write a part as an ONNX file, and compare it with PyTorch.

    Args:
        part: A part from `parts_of`, in evaluation mode.
        path: The .onnx file, which is kept only if it agrees.
        about: JSON that becomes the metadata of the file, one property for each key.
        half: Compute in float16: the encoder as a whole, and the four highest resolutions of the generator, as
            StyleGAN2-ADA does. Inputs and outputs stay float32.

    Returns:
        The largest difference from float32 in PyTorch, relative to the largest value or 1, whichever is larger.

    Raises:
        UserError: The packages of the extra `onnx` are not installed.
        CheckpointError: The graph and the network do not agree, or the graph is too large for a file.
    """
    for package in ("onnx", "onnxruntime", "onnxscript"):
        _import(package)
    references = {count: _reference(part, _batch(part, count)) for count in (1, BATCH, 3)}
    content = _graph(part, about, half)
    difference = max(_difference(content, part, count, expected) for count, expected in references.items())
    if not difference <= (HALF_TOLERANCE if half else TOLERANCE):
        raise CheckpointError(
            f"the graph of the {part.name} differs from PyTorch by {difference:.1e}, more than "
            f"{HALF_TOLERANCE if half else TOLERANCE:g}, and was not written"
        )
    make_folder(path.parent)
    with writing(path), atomic_file(path, durable=False) as file:
        file.write(content)
    return difference


def metadata_of(model: PSp | Generator, metadata: Mapping[str, object], part: Part, half: bool) -> dict[str, object]:
    """Return the metadata of a file: its part, inputs and outputs, the networks, and the licence."""
    names = [*part.inputs, *part.outputs]
    about: dict[str, object] = {"part": part.name, "precision": "float16" if half else "float32"}
    about |= {name: part.ranges[name] for name in names}
    if isinstance(model, PSp):
        about["encoder"] = built_as(model.encoder)
        about["task"] = metadata.get("task", "")
    about["generator"] = built_as(model.generator if isinstance(model, PSp) else model)
    about["licence"] = metadata.get("licence", "")
    return about


@torch.no_grad()
def _reference(part: Part, inputs: list[Tensor]) -> list[np.ndarray]:
    """Compute the outputs of the network in float32."""
    outputs = part.module(*inputs)
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def _batch(part: Part, count: int) -> list[Tensor]:
    """Return the examples, repeated or cut to another batch size."""
    fading = torch.linspace(1, 0.8, count)  # [count]
    return [
        example[torch.arange(count) % BATCH] * fading.view(-1, *[1] * (example.ndim - 1))
        for example in part.inputs.values()
    ]


@torch.no_grad()
def _graph(part: Part, about: Mapping[str, object], half: bool) -> bytes:
    """Trace the network and return the content of the file."""
    batch = torch.export.Dim("batch")
    module = _in_half(part.module) if half else part.module
    if any(isinstance(inner, PSp) and inner.encoder.reads_gradient for inner in module.modules()):
        module = _differentiated(module, tuple(part.inputs.values()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            tuple(part.inputs.values()),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            dynamic_shapes=tuple({0: batch} for _ in part.inputs),
        )
    proto = program.model_proto  # type: ignore[union-attr]
    for key, value in about.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    if proto.ByteSize() >= LARGEST:
        raise CheckpointError(
            f"the graph of the {part.name} has more than 2 GB, which is more than an ONNX file can contain"
        )
    return proto.SerializeToString()


def _differentiated(module: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
    """Return a copy in which the gradients that the module computes are forward operators, as `torch.export` needs."""
    from torch.fx.experimental.proxy_tensor import make_fx

    table = {torch.ops.aten.convolution_backward.default: _gradient_of_input}
    graph = make_fx(module, decomposition_table=table, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*inputs)
    return Traced(graph).eval()


class Traced(nn.Module):
    """A traced graph of one input, which has a name here."""

    def __init__(self, operators: nn.Module) -> None:
        super().__init__()
        self.operators = operators

    def forward(self, source: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the graph on images [N, C, S, S]."""
        return self.operators(source)


def _gradient_of_input(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    output_mask: list[bool],
) -> tuple[Tensor, None, None]:
    """Write the gradient of a convolution as a transposed convolution, and that of a transposed one as a convolution.

    The gradients of weight and bias are not needed, since only features are differentiated by.
    """
    convolution = torch.ops.aten.convolution.default
    if transposed:
        return convolution(grad, weight, None, stride, padding, dilation, False, [0, 0], groups), None, None
    extents = [dilation[i] * (weight.shape[2 + i] - 1) + 1 for i in range(2)]
    rests = [x.shape[2 + i] - ((grad.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + extents[i]) for i in range(2)]
    return convolution(grad, weight, None, stride, padding, dilation, True, rests, groups), None, None


def _in_half(module: nn.Module) -> nn.Module:
    """Return a copy that computes in float16: all of an encoder, and a generator as `set_precision` does."""
    copied = copy.deepcopy(module)
    for inner in copied.modules():
        if isinstance(inner, PSp):
            encoder: Any = inner.encoder
            encoder.half()
            for part in (encoder, encoder.corrector) if encoder.corrects_features else (encoder,):
                part.register_forward_pre_hook(lambda _, inputs: tuple(x.half() for x in inputs))
                part.register_forward_hook(lambda _, __, output: output.float())
    set_precision(copied, torch.float16)
    return copied


def _difference(content: bytes, part: Part, count: int, expected: list[np.ndarray]) -> float:
    """Run a graph with a batch of `count`, and compare it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = {name: example.numpy() for name, example in zip(part.inputs, _batch(part, count), strict=True)}
    results = session.run(list(part.outputs), inputs)
    pairs = zip(results, expected, strict=True)
    return max(float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in pairs)


def _import(module: str) -> Any:
    try:
        return __import__(module)
    except ImportError as error:
        raise UserError(
            f"the export needs {module}, which is not installed: pip install onnx onnxruntime onnxscript"
        ) from error
