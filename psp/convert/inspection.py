"""Describe a checkpoint, also a damaged one: its format, the sizes of its networks, and what it lacks."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from psp.convert import layout
from psp.convert.official import ANCHORS, DECODER, parts
from psp.encoders import ENCODERS
from psp.pretrained_files import PRETRAINED
from stylegan2 import convert
from stylegan2.convert import rosinality
from stylegan2.convert.envelope import unwrap
from stylegan2.convert.inspection import (
    line_of_settings,
    line_of_tensors,
    lines_of_checkpoint,
    lines_of_file,
    lines_of_gaps,
    lines_of_generator,
    listed,
)
from stylegan2.convert.layout import Stored, check_state, gaps
from stylegan2.loading import KIND as GENERATOR_KIND
from stylegan2.loading import PREFIX as GENERATOR_PREFIX
from stylegan2.loading import PRETRAINED as GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.bounded import reading
from stylegan2.runtime.errors import CheckpointError, UserError


def inspect(path: str | Path) -> list[str]:
    """Return lines such as "generator: 1024 px, ..." about any file that this package reads.

    Args:
        path: A file, an experiment folder (its newest intact checkpoint), or the name of a model that comes with the
            package.

    Raises:
        UserError: There is no such file.
        CheckpointError: The file has none of these formats, or is damaged as a whole.
    """
    path = _file_of(Path(path).expanduser())
    kind = convert.recognise(path)
    with reading(path, "a model", CheckpointError):
        if kind == convert.OURS:
            return _ours(path)
        if kind == convert.PICKLE:
            return lines_of_file(convert.open_foreign(path))
        return _torch(convert.read_content(path, kind), path)


def _torch(content: object, path: str | Path) -> list[str]:
    if isinstance(content, dict) and ("state_dict" in content or any(unwrap(content, anchor) for anchor in ANCHORS)):
        return _published(content)
    if isinstance(content, dict) and "input_layer.0.weight" in content:
        return [f"format: ArcFace IR-SE network of {len(content)} tensors (an encoder's trunk, or the identity loss)"]
    try:
        stored = convert.from_torch(content, path)
        check_state(stored.tensors)
        return lines_of_file(stored)
    except CheckpointError:
        names = [str(name) for name in content] if isinstance(content, dict) else []
        return [f"format: a PyTorch file of an unknown kind ({type(content).__name__}: {listed(names)})"]


def _file_of(path: Path) -> Path:
    if path.is_dir():
        return checkpoint.read_newest(path)[0]
    if path.exists():
        return path
    shipped = {name: table for table in (GENERATORS, PRETRAINED) for name in table.shipped}
    if str(path) not in shipped:
        raise UserError(f"there is no file {str(path)!r}, and no shipped model of that name: {', '.join(shipped)}")
    return shipped[str(path)].locate(str(path))


def _ours(path: str | Path) -> list[str]:
    tensors, metadata = checkpoint.read(path)
    lines = [f"format: checkpoint of this package, {metadata.get('kind')}"]
    lines += [f"{part}: {line_of_settings(metadata[part])}" for part in ("encoder", "generator") if part in metadata]
    step = {key: str(metadata[key])[:100] for key in ("task", "cur_step", "cur_nimg") if key in metadata}
    lines += [f"training: {line_of_settings(step)}"] * bool(step)
    if "generator" in metadata:
        prefix = GENERATOR_PREFIX if metadata.get("kind") == GENERATOR_KIND else "generator"
        lines += lines_of_checkpoint(metadata, tensors, prefix)
    return [*lines, line_of_tensors(tensors)]


def _published(content: dict[str, object]) -> list[str]:
    state, average, options = parts(content)
    lines = []
    try:
        name = layout.encoder_name(state, options)
        lines.append(f"format: {layout.repository_of(name)}, encoder_type {options.get('encoder_type', 'unknown')}")
        lines += _encoder(name, state, options)
    except UserError as error:
        lines.append(f"encoder: {error}")
    lines += _generator({key.removeprefix(DECODER): value for key, value in state.items() if key.startswith(DECODER)})
    lines.append(_average(average))
    options_shown = {
        key: options[key] for key in ("dataset_type", "start_from_latent_avg", layout.RESTYLE_OPTION) if key in options
    }
    known = ("state_dict", "opts", "latent_avg")
    further = [key for key, value in content.items() if key not in known and not isinstance(value, Tensor)]
    lines.append(f"options: {line_of_settings(options_shown) or 'none'}")
    lines += [f"besides the model: {', '.join(map(str, further))}"] * bool(further)
    return [*lines, line_of_tensors(state)]


def _encoder(name: str, state: Mapping[str, Tensor], options: layout.Options) -> list[str]:
    """Return lines about the sizes of the encoder, and about tensors that are missing or left over."""
    rows = 2 * layout.count(state, f"{DECODER}to_rgbs") + 2
    config = layout.encoder_config(name, state, rows, 3, options)
    with torch.device("meta"):
        wanted = ENCODERS.build(**ENCODERS.checked({"name": name, **config})).state_dict()
    used = layout.without_extra_heads(state, rows)
    own = {key.removeprefix("encoder."): value for key, value in used.items() if key.startswith("encoder.")}
    lines = [f"encoder: {name}, {line_of_settings(config)}"]
    if (heads := layout.count(state, "encoder.styles")) > rows:
        lines.append(f"encoder: the generator uses the first {rows} of its {heads} heads")
    other = [key for key in wanted if key in own and wanted[key].shape != own[key].shape]
    lines += lines_of_gaps("encoder", *gaps(own, wanted))
    return lines + [f"encoder: of another shape: {listed(other)}"] * bool(other)


def _generator(state: dict[str, Tensor]) -> list[str]:
    """Return lines about the sizes of a generator in rosinality's layout, and about missing or left over tensors."""
    return (
        lines_of_generator(rosinality.describe(Stored(rosinality.SOURCE, state, {}))) if state else ["generator: none"]
    )


def _average(average: Tensor | None) -> str:
    if average is not None:
        return f"latent_avg: {list(average.shape)}"
    return "latent_avg: not in the file; it is estimated from the mapping network when the file is read"
