"""The methods of a comparison, which turn a source into an output."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from psp.loading import load, model_metadata
from psp.losses import WeightedLosses
from psp.model import Codes, PSp, fit
from psp.optimize import FEATURE_L2, losses_for, optimize_codes
from stylegan2.metrics.samples import as_rgb
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import built_as

OnStep = Callable[[int], object]
Render = Callable[[Tensor, Tensor, OnStep], Tensor]


@dataclass(frozen=True)
class Method:
    """One method, which is one row of the table."""

    name: str
    key: dict[str, object]
    """JSON of everything that the outputs depend on, besides the images"""
    source_size: int
    """side of the sources that the method reads"""
    render: Render
    """(source [N, C, S, S], target [N, 3, T, T], on_step) -> output [N, 3, T, T]"""
    steps: int = 0
    """optimisation steps for a batch; on_step is called after each"""


# --- rows ---


def mean_face(model: PSp) -> Method:
    """Render the latent average for every image, as a lower bound of quality."""

    def render(source: Tensor, target: Tensor, on_step: OnStep) -> Tensor:
        output = as_rgb(fit(model.decode(model.latent_avg[None]), target.shape[-1]))  # [1, 3, T, T]
        return output.expand(len(target), -1, -1, -1)  # [N, 3, T, T]

    return Method("mean face", {"mean_face": _generator_key(model)}, _size(model), render)


def encode_and_render(model: PSp, name: str) -> Method:
    """Use encoder and generator, with all passes of an iterative encoder."""

    def render(source: Tensor, target: Tensor, on_step: OnStep) -> Tensor:
        return as_rgb(fit(model(source), target.shape[-1]))  # [N, 3, T, T]

    return Method(name, {"encoder": _encoder_key(model)}, _size(model), render)


def optimise(model: PSp, losses: WeightedLosses, steps: int) -> Method:
    """Optimise w_plus from the latent average, which is slow and close to the best that the generator can do.

    Args:
        model: The model, whose generator and latent average are used.
        losses: Terms on (output, target).
        steps: Optimisation steps.
    """
    key = {"optimisation": _generator_key(model), "steps": steps, "losses": losses.weights_by_network}
    render = _optimised(model, losses, steps, lambda source: Codes(model.latent_avg))
    return Method(f"W+ optimisation, {steps} steps", key, _size(model), render, steps)


def refine(model: PSp, losses: WeightedLosses, steps: int, name: str) -> Method:
    """Optimise w_plus from the encoder's codes.

    Args:
        model: Encoder and generator.
        losses: Terms on (output, target).
        steps: Optimisation steps.
        name: The name of the encoder's own row.
    """
    key = {"refinement": _encoder_key(model), "steps": steps, "losses": losses.weights_by_network}
    if model.encoder.corrects_features and model.iterations > 1:  # its codes have features
        key["feature_l2"] = FEATURE_L2
    render = _optimised(model, losses, steps, model.encode)
    return Method(f"{name} + refinement, {steps} steps", key, _size(model), render, steps)


def _optimised(model: PSp, losses: WeightedLosses, steps: int, start: Callable[[Tensor], Codes]) -> Render:
    def render(source: Tensor, target: Tensor, on_step: OnStep) -> Tensor:
        first = start(source)
        with torch.enable_grad():
            weighed = losses_for(first, losses)
            codes = optimize_codes(model.generator, target, weighed, first, steps, on_step=on_step)
        return as_rgb(fit(model.decode(codes), target.shape[-1]))  # [N, 3, T, T]

    return render


# --- names and keys ---

FAMILIES = {
    "gradual": "pSp",
    "light": "pSp",
    "w": "W",
    "light_w": "W",
    "w_plus_naive": "naive W+",
    "light_w_plus": "naive W+",
    "e4e": "e4e",
    "light_e4e": "e4e",
    "feature": "feature",
    "light_feature": "feature",
    "feature_gradient": "feature, by gradients",
    "light_feature_gradient": "feature, by gradients",
}
"""names of single-pass encoders in the papers"""
PUBLISHED = ("gradual", "w", "w_plus_naive", "e4e", "restyle", "feature", "feature_gradient")
"""encoders that are identified by their names in the papers"""


def paper_name(model: PSp) -> str:
    """Return the name of an encoder in the papers, with its form: "pSp", "W (light_w)", "ReStyle, 5 steps"."""
    registered = built_as(model.encoder)["name"]
    family = "ReStyle" if model.encoder.reads_rendering else FAMILIES.get(registered)
    name = registered if family is None else family if registered in PUBLISHED else f"{family} ({registered})"
    return f"{name}, {model.iterations} steps" if model.encoder.reads_rendering and model.iterations > 1 else name


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # [bytes]
    return digest.hexdigest()


def _encoder_key(model: PSp) -> list[object]:
    return [digest_of_tensors(model.state_dict()), model_metadata(model)["encoder"], model.iterations]


def _generator_key(model: PSp) -> str:
    return digest_of_tensors({**model.generator.state_dict(), "latent_avg": model.latent_avg})


def _size(model: PSp) -> int:
    return int(model.encoder.input_size)


# --- models ---


def load_models(entries: Iterable[tuple[str | None, str]]) -> dict[str, tuple[PSp, Metadata]]:
    """Load the models to compare.

    Args:
        entries: (name, or None for that of the encoder; file, folder or name as for `psp.loading.load`).

    Returns:
        {name of the row: (model, metadata)}.

    Raises:
        UserError: There is no such model, two rows would have the same name, or the generators cannot be compared.
    """
    loaded = [(given, path, *load(path)) for given, path in entries]
    _check_alike([(path, model) for _, path, model, _ in loaded])
    models: dict[str, tuple[PSp, Metadata]] = {}
    paths: dict[str, str] = {}
    for given, path, model, metadata in loaded:
        name = given or paper_name(model)
        if name in models:
            raise UserError(
                f"{paths[name]} and {path} are both called {name!r}: give them different names, such as NAME={path}"
            )
        models[name], paths[name] = (model, metadata), path
    return models


def _check_alike(models: Sequence[tuple[str, PSp]]) -> None:
    first, theirs = models[0][0], models[0][1].generator.img_resolution
    for path, model in models:
        mine = model.generator.img_resolution
        if mine != theirs:
            raise UserError(f"{first} renders {theirs} px and {path} {mine} px: measure them separately")
