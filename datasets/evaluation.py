"""A task's models beside its baselines, group after group: rows, tables and pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from datasets.baselines import baselines, with_known_pixels
from datasets.held_out import HeldOutPairs
from datasets.tasks import Task
from datasets.tasks.frontalization import Frontalization
from datasets.tasks.inpainting import Inpainting
from datasets.tasks.inversion import Inversion
from psp.evaluation import (
    Gauge,
    Measured,
    Method,
    Plan,
    diversity,
    encode_and_render,
    mean_face,
    measure_images,
    quality,
)
from psp.evaluation.report import sheet, table, tables
from psp.mixing import Mixing
from psp.model import PSp, fit
from psp.perception.segmenter import Segmenter, load_segmenter
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError

MULTI_MODAL = ("segmentation", "sketch", "super_resolution")  # a source leaves open what the face looks like
DIVERSITY_IMAGES = 64  # of each group: every image stands for K outputs and K (K - 1) / 2 distances
DIVERSITY_SHOWN = 4


@dataclass(frozen=True)
class Comparison:
    """What is compared, on which pairs."""

    models: Mapping[str, PSp]
    """{name of the row: model}; the mean face is the first one's"""
    pairs: Sequence[HeldOutPairs]
    """one of each group"""
    gauge: Gauge
    more: Sequence[Method] = ()
    """rows beside the mean face, the task's baselines and the models"""
    paired: bool = False
    """the sources are files of the user's"""

    @cached_property
    def encoders(self) -> list[Method]:
        return [encode_and_render(model, name) for name, model in self.models.items()]

    @property
    def source_size(self) -> int:
        return self.encoders[0].source_size

    def rows(self, task: Task) -> list[Method]:
        """The table of a group, whose task makes its pairs."""
        floor = [mean_face(next(iter(self.models.values()))), *baselines(task, self.source_size, self.paired)]
        pasted = [with_known_pixels(row) for row in self.encoders] if isinstance(task, Inpainting) else []
        return [*floor, *self.encoders, *pasted, *self.more]


def measure_all(c: Comparison, plan: Plan, header: Mapping[str, Any], exp_dir: Path) -> dict[str, Any]:
    """Measures every row on every group; metrics.json and table.md grow with each, comparison.png comes at the end.

    Returns what metrics.json holds: `header`, then the means.
    """
    _make_folder(exp_dir)
    measured: dict[str, dict[str, Measured]] = {}
    report, text = dict(header), ""
    for pairs in c.pairs:
        group = pairs.group
        part = plan.part(group.name, task=[group.task.registered_name, group.task.config])
        print(f"{group.name}: {plan.count} images")
        for row in c.rows(group.task):
            found = measure_images(quality(row, c.gauge), pairs.batch, part)
            measured.setdefault(group.name, {})[row.name] = found
            numbers, text = tables(measured, c.gauge.labels)
            report = {**header, **numbers}
            _write(exp_dir, report, text)
    images.write_image(exp_dir / "comparison.png", _comparison(c, measured, plan.keep))
    print(text)
    return report


def measure_all_diversity(c: Comparison, plan: Plan, mixing: Mixing, report: Mapping[str, Any], exp_dir: Path) -> None:
    """Adds the diversity of each model's outputs to metrics.json and table.md, and writes diversity.png."""
    plan = replace(plan, count=min(plan.count, DIVERSITY_IMAGES), keep=DIVERSITY_SHOWN)
    perceptual = c.gauge.meters.perceptual
    results: dict[str, dict[str, float]] = {}
    rows: dict[str, Sequence[np.ndarray]] = {}
    for pairs in c.pairs:
        group = pairs.group
        part = plan.part(group.name, task=[group.task.registered_name, group.task.config])
        sources = _shown_sources(pairs, c.source_size, min(plan.keep, plan.count))
        for (name, model), encoder in zip(c.models.items(), c.encoders, strict=True):
            measurement = diversity(model, encoder, perceptual, mixing)
            found = measure_images(measurement, pairs.batch, part)
            results.setdefault(name, {})[group.name] = float(found.values["diversity"].mean())
            for n, (source, outputs) in enumerate(zip(sources, found.pictures, strict=True)):
                rows[f"{group.name} {n}, {name}"] = [source, *np.split(outputs, mixing.outputs, axis=1)]
    label = f"diversity of {mixing.outputs} outputs, rows {mixing.mask} ({c.gauge.networks['perceptual']})"
    text = f"**{label}**, {plan.count} images\n\n{table(results, {})}"
    numbers = {"outputs": mixing.outputs, "latent_mask": mixing.mask, "images": plan.count, "results": results}
    _write(exp_dir, {**report, "diversity": numbers}, (exp_dir / "table.md").read_text(encoding="utf-8") + "\n" + text)
    images.write_image(exp_dir / "diversity.png", sheet(rows))
    print(text)


def pick_segmenter(path: str | None, task: Task, synthetic: bool) -> Segmenter | None:
    """What finds the labels of an output again: the file asked for, or the shipped one where it knows the pictures."""
    if task.registered_name != "segmentation" or (path is None and not synthetic):
        return None
    segmenter = load_segmenter(path) if path else load_segmenter()
    if segmenter.label_nc == task.source_channels:
        return segmenter
    print(f"{segmenter.name} knows {segmenter.label_nc} labels and the model {task.source_channels}: mIoU is left out")
    return None


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to the folder {str(path)!r}: {error.strerror}") from error


def _write(exp_dir: Path, report: Mapping[str, Any], text: str) -> None:
    (exp_dir / "metrics.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (exp_dir / "table.md").write_text(text, encoding="utf-8")


# --- pictures ---


def _comparison(c: Comparison, measured: Mapping[str, Mapping[str, Measured]], keep: int) -> np.ndarray:
    """Under each other, for each group: source, baselines and outputs, target."""
    rows: dict[str, Sequence[np.ndarray]] = {}
    for pairs in c.pairs:
        found = measured[pairs.group.name]
        prefix = f"{pairs.group.name}: " if len(c.pairs) > 1 else ""
        count = min(len(next(iter(found.values())).pictures), keep)
        _, target = pairs.batch(0, count, c.source_size)
        # Inversion's source is the target, and frontalization's is a row of its own.
        if c.paired or not isinstance(pairs.group.task, Inversion | Frontalization):
            rows[f"{prefix}source"] = _shown_sources(pairs, c.source_size, count)
        rows |= {f"{prefix}{name}": part.pictures for name, part in found.items()}
        rows[f"{prefix}target"] = list(images.to_uint8(target))
    return sheet(rows)


def _shown_sources(pairs: HeldOutPairs, source_size: int, count: int) -> list[np.ndarray]:
    """What the encoder sees of the first pairs, uint8 [T, T, 3] each."""
    source, target = pairs.batch(0, count, source_size)
    return list(images.to_uint8(fit(pairs.group.task.show_source(source), target.shape[-1])))
