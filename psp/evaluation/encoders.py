"""Compare encoders with one another and with baselines on the same held-out pairs.

scripts/evaluate.py calls `compare_methods`, which calls `evaluate_method` for each row of the table, which calls
`Metrics` for each batch.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from psp.evaluation.methods import Method, encode_and_render
from psp.evaluation.metrics import Metrics
from psp.evaluation.per_image import PerImageValues, sheet, table, tables
from psp.evaluation.shared_jobs import HeldOutSet, Job
from psp.mixing import Mixing, Variants
from psp.model import PSp, fit
from psp.precision import autocast
from stylegan2.latents.sampling import render
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import make_folder, write_text

DIVERSITY_IMAGES = 64  # images of each set: each costs K outputs and K (K - 1) / 2 distances
DIVERSITY_SHOWN = 4


# --- quality ---


def compare_methods(
    rows: Sequence[tuple[HeldOutSet, Sequence[Method]]],
    metrics: Metrics,
    exp_dir: Path,
    header: Mapping[str, object],
    titles: Mapping[str, str],
    shown: int,
    show_sources: bool,
    precision: str = "fp32",
) -> dict[str, object]:
    """Measure every method on every set; update metrics.json and table.md after each, and write comparison.png last.

    Args:
        rows: Each set with the methods to compare on it.
        metrics: Computes the metrics.
        exp_dir: Folder for the results, and for the values of each image in per_image/.
        header: The first entries of metrics.json.
        titles: {metric: title in the table}.
        shown: Number of images in the comparison.
        show_sources: Whether the comparison has a row of the sources.
        precision: Precision of the methods, as `psp.precision.pick_precision` returns it.

    Returns:
        The content of metrics.json: `header`, then the means.
    """
    make_folder(exp_dir)
    stored_values: dict[str, dict[str, PerImageValues]] = {}
    values: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    content, text = dict(header), ""
    for held_out, methods in rows:
        print(f"{held_out.name}: {held_out.count} images")
        for method in methods:
            stored = evaluate_method(method, held_out, metrics, exp_dir / "per_image", shown, precision)
            stored_values.setdefault(held_out.name, {})[method.name] = stored
            values.setdefault(held_out.name, {})[method.name] = stored.first(held_out.count)
            numbers, text = tables(values, titles)
            content = {**header, **numbers}
            _write(exp_dir, content, text)
    images.write_image(exp_dir / "comparison.png", _comparison(rows, stored_values, shown, show_sources))
    print(text)
    return content


@torch.no_grad()
def evaluate_method(
    method: Method, held_out: HeldOutSet, metrics: Metrics, folder: Path, shown: int = 0, precision: str = "fp32"
) -> PerImageValues:
    """Measure the outputs of a method for each pair, and the seconds that the method itself takes.

    Pairs whose values are in `folder` are not measured again: an interrupted run continues after its last batch, and a
    larger count extends a smaller one.

    Args:
        method: The method to evaluate.
        held_out: The pairs.
        metrics: The metrics to compute, in fp32.
        folder: Folder of the stored values.
        shown: Number of first outputs that are kept as pictures.
        precision: Precision of the method (`pick_precision`).
    """
    values = quality_values(method, held_out, metrics, folder, precision)
    with values, held_out.progress(method.name, values.count, method.steps) as bar:
        for source, target in held_out.batches(values.count, method.source_size):
            measured, output = evaluate_batch(method, metrics, precision, source, target, lambda _: bar.update())
            values.add(measured, images.to_uint8(output[: max(0, shown - values.count)]))
            bar.update(0 if method.steps else 1)
    return values


def quality_values(
    method: Method, held_out: HeldOutSet, metrics: Metrics, folder: Path, precision: str
) -> PerImageValues:
    """Open the stored values of a method's outputs."""
    return held_out.open_values(
        folder, method.name, {"method": method.key, "metrics": metrics.networks, "precision": precision}
    )


def evaluate_batch(
    method: Method,
    metrics: Metrics,
    precision: str,
    source: Tensor,
    target: Tensor,
    on_step: Callable[[int], object] = id,
) -> tuple[dict[str, Tensor], Tensor]:
    """Measure the outputs of a method for N pairs.

    Args:
        method: The method to evaluate.
        metrics: The metrics to compute.
        precision: Precision of the method (`pick_precision`).
        source: [N, C, S, S].
        target: [N, 3, T, T].
        on_step: Called after each step of an optimisation.

    Returns:
        {metric: [N] or [N, L]} with the seconds that the method took, and the outputs [N, 3, T, T].
    """
    started = time.perf_counter()
    with autocast(target.device, precision):
        output = method.render(source, target, on_step).float()  # [N, 3, T, T]
    if output.is_cuda:
        torch.cuda.synchronize(output.device)
    seconds = torch.full((len(target),), (time.perf_counter() - started) / len(target))  # [N]
    return {**metrics(output, source, target), "seconds_per_image": seconds}, output


def quality_jobs(
    rows: Sequence[tuple[HeldOutSet, Sequence[Method]]], metrics: Metrics, exp_dir: Path, shown: int, precision: str
) -> list[Job]:
    """List what `compare_methods` measures, for several processes to share."""
    return [
        Job(
            method.name,
            held_out,
            quality_values(method, held_out, metrics, exp_dir / "per_image", precision),
            method.source_size,
            partial(evaluate_batch, method, metrics, precision),
            shown,
        )
        for held_out, methods in rows
        for method in methods
    ]


def _comparison(
    rows: Sequence[tuple[HeldOutSet, Sequence[Method]]],
    stored_values: Mapping[str, Mapping[str, PerImageValues]],
    shown: int,
    show_sources: bool,
) -> np.ndarray:
    """Stack sources, outputs and targets of every set in one picture, uint8 [H, W, 3]."""
    pictures: dict[str, Sequence[np.ndarray]] = {}
    for held_out, methods in rows:
        prefix = f"{held_out.name}: " if len(rows) > 1 else ""
        size = methods[0].source_size
        count = min(shown, held_out.count, len(stored_values[held_out.name][methods[0].name].pictures))
        if show_sources:
            pictures[f"{prefix}source"] = held_out.sources(count, size)
        for name, stored in stored_values[held_out.name].items():
            pictures[f"{prefix}{name}"] = list(stored.pictures[:count])
        pictures[f"{prefix}target"] = held_out.targets(count, size)
    return sheet(pictures)


# --- diversity ---


def compare_diversity(
    sets: Sequence[HeldOutSet],
    models: Mapping[str, PSp],
    perceptual: nn.Module,
    mixing: Mixing,
    exp_dir: Path,
    content: Mapping[str, object],
) -> None:
    """Add the diversity of each model's outputs to metrics.json and table.md, and write diversity.png.

    Args:
        sets: The held-out pairs.
        models: {name of the row: model}.
        perceptual: Distance of two images, with an attribute `name`.
        mixing: The settings of the random styles.
        exp_dir: Folder of the results.
        content: The present content of metrics.json.
    """
    results: dict[str, dict[str, float]] = {}
    pictures: dict[str, Sequence[np.ndarray]] = {}
    count = _diversity_count(sets)
    for held_out in sets:
        part = replace(held_out, count=count)
        for name, model in models.items():
            method = encode_and_render(model, name)
            values = evaluate_diversity(model, method, part, perceptual, mixing, exp_dir / "per_image", DIVERSITY_SHOWN)
            results.setdefault(name, {})[part.name] = float(values.first(count)["diversity"].mean())
            shown = min(DIVERSITY_SHOWN, count)
            for n, source in enumerate(part.sources(shown, method.source_size)):
                outputs = np.split(values.pictures[n], mixing.outputs, axis=1)  # K of [T, T, 3]
                pictures[f"{part.name} {n}, {name}"] = [source, *outputs]
    title = f"diversity of {mixing.outputs} outputs, rows {mixing.mask} ({perceptual.name})"
    text = f"**{title}**, {count} images\n\n{table(results, {})}"
    numbers = {"outputs": mixing.outputs, "latent_mask": mixing.mask, "images": count, "results": results}
    _write(exp_dir, {**content, "diversity": numbers}, (exp_dir / "table.md").read_text(encoding="utf-8") + "\n" + text)
    images.write_image(exp_dir / "diversity.png", sheet(pictures))
    print(text)


@torch.no_grad()
def evaluate_diversity(
    model: PSp,
    method: Method,
    held_out: HeldOutSet,
    perceptual: nn.Module,
    mixing: Mixing,
    folder: Path,
    shown: int = 0,
) -> PerImageValues:
    """Measure how much the K outputs for each source differ, where random styles fill some rows of w+.

    Args:
        model: Encoder and generator.
        method: The row of this model, under whose name the values are stored.
        held_out: The pairs, of which only the sources are used.
        perceptual: Distance of two images, with an attribute `name`.
        mixing: The settings of the random styles; `outputs` is K, 2 or more.
        folder: Folder of the stored values.
        shown: Number of first sources whose K outputs are kept as one picture, side by side.

    Returns:
        {"diversity": [N]}, the mean perceptual distance between all pairs of a source's outputs.

    Raises:
        UserError: There are fewer than 2 outputs, or the generator lacks some of the rows.
    """
    if mixing.outputs < 2:
        raise UserError(f"diversity needs at least 2 outputs, not {mixing.outputs}")
    values = diversity_values(method, held_out, perceptual, mixing, folder)
    variants = Variants.draw(model.generator, mixing)
    with values, held_out.progress(f"{method.name}: {mixing.outputs} outputs", values.count) as bar:
        for source, target in held_out.batches(values.count, method.source_size):
            measured, side_by_side = measure_diversity(model, variants, perceptual, source, target)
            values.add(measured, images.to_uint8(side_by_side[: max(0, shown - values.count)]))
            bar.update()
    return values


def diversity_values(
    method: Method, held_out: HeldOutSet, perceptual: nn.Module, mixing: Mixing, folder: Path
) -> PerImageValues:
    """Open the stored diversity of a model's outputs."""
    key = {"diversity": method.key, "perceptual": str(perceptual.name), "mixing": asdict(mixing)}
    return held_out.open_values(folder, f"{method.name}: {mixing.outputs} outputs", key)


def measure_diversity(
    model: PSp, variants: Variants, perceptual: nn.Module, source: Tensor, target: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Measure how much the K outputs for each of N sources differ.

    Args:
        model: Encoder and generator.
        variants: The random styles of the outputs.
        perceptual: Distance of two images.
        source: [N, C, S, S].
        target: [N, 3, T, T], of which only the size is used.

    Returns:
        {"diversity": [N]}, and the outputs side by side, [N, 3, T, K * T].
    """
    codes = variants.of(model.generator, model.encode(source))  # of N * K images
    outputs = render(model.generator, codes.w_plus, features=codes.features)  # [N * K, 3, R, R]
    outputs = fit(outputs.to(target.device), target.shape[-1])  # [N * K, 3, T, T]
    outputs = outputs.unflatten(0, (len(target), variants.count))  # [N, K, 3, T, T]
    side_by_side = torch.cat(list(outputs.unbind(1)), dim=3)  # [N, 3, T, K * T]
    return {"diversity": pairwise(outputs, perceptual)}, side_by_side


def diversity_jobs(
    sets: Sequence[HeldOutSet], models: Mapping[str, PSp], perceptual: nn.Module, mixing: Mixing, exp_dir: Path
) -> list[Job]:
    """List what `compare_diversity` measures, for several processes to share."""
    count = _diversity_count(sets)
    jobs = []
    for held_out in sets:
        part = replace(held_out, count=count)
        for name, model in models.items():
            method, variants = encode_and_render(model, name), Variants.draw(model.generator, mixing)
            values = diversity_values(method, part, perceptual, mixing, exp_dir / "per_image")
            work = partial(measure_diversity, model, variants, perceptual)
            jobs.append(Job(f"{name}: diversity", part, values, method.source_size, work, DIVERSITY_SHOWN))
    return jobs


def _diversity_count(sets: Sequence[HeldOutSet]) -> int:
    return min(DIVERSITY_IMAGES, *(held_out.count for held_out in sets))


@torch.no_grad()
def pairwise(outputs: Tensor, distance: nn.Module) -> Tensor:
    """Average the distances between all pairs of the K images of each sample: [N, K, 3, T, T] -> [N]."""
    pairs = combinations(range(outputs.shape[1]), 2)
    return torch.stack([distance(outputs[:, a], outputs[:, b]) for a, b in pairs]).mean(0)  # [N]


def _write(exp_dir: Path, content: Mapping[str, object], text: str) -> None:
    write_text(exp_dir / "metrics.json", json.dumps(content, indent=2) + "\n")
    write_text(exp_dir / "table.md", text)
