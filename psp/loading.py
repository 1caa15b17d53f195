"""Load a pSp model from any source: checkpoints, experiment folders, shipped models, published files."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from psp.convert import from_official
from psp.encoders import ENCODERS, encoder_for, started_from, upgraded, with_input_channels
from psp.model import PSp
from psp.pretrained_files import PRETRAINED
from stylegan2 import loading as generators
from stylegan2.loading import cast
from stylegan2.networks.protocols import Generator
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.bounded import reading
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import CheckpointError, UserError
from stylegan2.runtime.registry import built_as
from stylegan2.runtime.remote import local_model
from stylegan2.runtime.tensors import build_stored, module_tensors

KIND = "psp"


def load(path_or_name: str | Path) -> tuple[PSp, Metadata]:
    """Load a pSp model from any source.

    Args:
        path_or_name: A checkpoint of this package (.safetensors), an experiment folder (its newest intact checkpoint),
            the name of a model that comes with the package or was downloaded, or a published pSp file (.pt, or its
            tensors as .safetensors).

    Returns:
        The model in float32 on the CPU, in evaluation mode, and its metadata: {"kind": "psp",
        "encoder": {"name": ..., **settings}, "generator": {"name": ..., **settings}, ...}.

    Raises:
        UserError: There is nothing of that name.
        CheckpointError: The file is damaged, or does not hold exactly a pSp model.
    """
    path = local_model(path_or_name).expanduser()
    if path.is_dir():
        return _restore(*checkpoint.read_newest(path))
    if not path.is_file():
        path = PRETRAINED.locate_model(str(path_or_name), "pSp model")
    if not checkpoint.is_safetensors(path) or checkpoint.is_of_others(path):
        model, metadata = from_official(path)
        return model, model_metadata(model) | metadata
    return _restore(path, *checkpoint.read(path))


def load_any(path_or_name: str | Path) -> tuple[PSp | Generator, Metadata]:
    """Load a pSp model or, if there is none of that name, a generator (see `load` and `stylegan2.load`).

    Raises:
        CheckpointError: There is neither; the message says why.
    """
    try:
        return load(path_or_name)
    except UserError as no_model:
        try:
            return generators.load(path_or_name)
        except UserError as no_generator:
            sentences = dict.fromkeys([str(no_model), str(no_generator)])
            raise CheckpointError("; ".join(sentences)) from no_generator


def load_generator(path_or_name: str | Path) -> Generator:
    """Load a generator, or that of a pSp model. CheckpointError: there is neither."""
    model, _ = load_any(path_or_name)
    return model.generator if isinstance(model, PSp) else model


def load_for(path_or_name: str | Path, encoder_name: str, input_channels: int) -> PSp:
    """Load a model to train it further, with sources of another number of channels (see `with_input_channels`).

    If another encoder is requested, it takes over the weights that both share: a feature encoder can start from a W+
    encoder.

    Args:
        path_or_name: As in `load`.
        encoder_name: The encoder to train, or "auto" for the model's own.
        input_channels: Channels of the sources.

    Raises:
        UserError: The requested encoder shares less than half of its weights with that of the model.
    """
    model, _ = load(path_or_name)
    encoder, name = model.encoder, built_as(model.encoder)["name"]
    if encoder.input_channels != input_channels:
        encoder = with_input_channels(encoder, input_channels)
    if encoder_name not in ("auto", name):
        try:
            encoder, taken = started_from(encoder, encoder_for(model.generator, encoder_name, input_channels))
        except UserError as error:
            raise UserError(f"{str(path_or_name)!r} has an encoder {name}, but {encoder_name} was requested") from error
        print(f"{taken} from the encoder {name} of {str(path_or_name)!r}")
    return model if encoder is model.encoder else PSp(encoder, model.generator, model.latent_avg)


def model_metadata(model: PSp) -> dict[str, object]:
    """Return the metadata that `load` needs, besides the tensors, to build a model again."""
    parts = {"kind": KIND, "encoder": built_as(model.encoder), "generator": built_as(model.generator)}
    if model.encoder.aspect != 1.0:
        parts["aspect"] = model.encoder.aspect
    return json.loads(json.dumps(parts))  # as it will be read from a file, where tuples are lists


def save_model(path: str | Path, model: PSp, metadata: Metadata, dtype: torch.dtype | None = None) -> None:
    """Write encoder, generator and latent average, without the state of a training, to a file that `load` reads.

    Args:
        path: A .safetensors file, which is replaced atomically.
        model: A model whose parts were built by `ENCODERS` and `GENERATORS`.
        metadata: Further JSON for the file (licence, task, data, ...); "kind", "encoder" and "generator" are filled in.
        dtype: The type in which weights are stored, such as torch.float16 for half the size; `load` gives float32.

    Raises:
        CheckpointError: A weight does not fit into `dtype`, or the disk refuses.
    """
    checkpoint.save(path, cast(model_tensors(model), dtype), {**metadata, **model_metadata(model)})


def model_tensors(model: PSp) -> dict[str, Tensor]:
    """Return the weights and buffers of encoder and generator and the latent average, as `from_tensors` reads them."""
    return {
        **module_tensors("encoder", model.encoder),
        **module_tensors("generator", model.generator),
        "latent_avg": model.latent_avg,
    }


def from_tensors(tensors: Mapping[str, Tensor], metadata: Metadata) -> PSp:
    """Build the model that `metadata` describes.

    Args:
        tensors: `encoder.*`, `generator.*` and `latent_avg`; others, such as those of an optimizer, are ignored.
        metadata: The metadata, as this or an earlier version of `model_metadata` returned it.

    Raises:
        CheckpointError: Tensors are missing, unexpected or of another shape; the message names them.
    """
    if "latent_avg" not in tensors:
        raise CheckpointError("latent_avg is missing")
    encoder: object = build_stored(ENCODERS, _encoder_description(metadata), tensors, "encoder")
    generator = build_stored(GENERATORS, metadata.get("generator"), tensors, "generator")
    average = tensors["latent_avg"].float()
    if list(average.shape) not in ([generator.w_dim], [generator.num_ws, generator.w_dim], [1, generator.w_dim]):
        raise CheckpointError(f"latent_avg has the shape {list(average.shape)[:8]}, which is not its generator's")
    model = PSp(encoder, generator, average)
    if "aspect" in metadata:
        model.encoder.aspect = _aspect(metadata["aspect"])
    return model.eval()


def _aspect(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.25 <= value <= 1:
        raise CheckpointError(f"its aspect is {str(value)[:50]}, which is not a height over width from 0.25 to 1")
    return float(value)


def _encoder_description(metadata: Mapping[str, object]) -> dict[str, object]:
    settings = metadata.get("encoder")
    if not isinstance(settings, dict) or not isinstance(settings.get("name"), str):
        raise CheckpointError("its metadata do not contain the name of its encoder")
    if settings["name"] not in ENCODERS:
        known = ", ".join(ENCODERS.names())
        raise CheckpointError(f"its encoder is called {settings['name'][:100]!r}; there are {known}")
    return upgraded(settings)


def _restore(path: Path, tensors: Mapping[str, Tensor], metadata: Metadata) -> tuple[PSp, Metadata]:
    if metadata.get("kind") != KIND:
        raise CheckpointError(f"{str(path)!r} is a checkpoint of {metadata.get('kind')!r}, not of a pSp model")
    with reading(path, "a pSp model", CheckpointError):
        return from_tensors(tensors, metadata), metadata
