"""Measure encoders: python scripts/evaluate.py --checkpoint_path runs/mine [NAME=runs/other ...] [--data FOLDER]

Several processes share the work: torchrun --nproc_per_node=N scripts/evaluate.py ... With --generator, this command is
the same as scripts/evaluate_generator.py.
"""

import _start  # noqa: F401

# isort: split

import os
import sys
from collections.abc import Mapping

import torch

from datasets.held_out import HeldOutPairs, count_images, data_key, left_out, open_groups, shared_task
from datasets.sources import SYNTHETIC
from datasets.tasks import Task
from options.commands.evaluate import Evaluate
from options.parse import run
from options.results import label, record_for, with_folder
from psp.evaluation.encoders import compare_diversity, compare_methods, diversity_jobs, quality_jobs
from psp.evaluation.methods import Method, encode_and_render, load_models, mean_face, optimise, refine
from psp.evaluation.metrics import build_metrics, pick_segmenter
from psp.evaluation.shared_jobs import HeldOutSet, evaluate_jobs, waits
from psp.losses import build_losses
from psp.mixing import mask_rows
from psp.model import LOSS_SIZE, PSp
from psp.optimize import LAMBDAS
from psp.precision import pick_precision
from scripts import evaluate_generator
from stylegan2.runtime.checkpoint import Metadata
from stylegan2.runtime.device import place
from stylegan2.runtime.files import write_text
from stylegan2.runtime.output_names import printable
from stylegan2.runtime.randomness import seed_step
from stylegan2.runtime.registry import built_as
from stylegan2.runtime.work_group import join_group

SHOWN = 12  # number of images in the comparison picture
DEFAULT_IMAGES = 512
WRITES = ("per_image", "metrics.json", "table.md", "comparison*", "left_out.txt")


def held_out_sets(o: Evaluate, task: Task, models: Mapping[str, PSp], device: torch.device) -> list[HeldOutSet]:
    """Open the held-out pairs of each group of the task.

    Raises:
        UserError: There are fewer images than the user asked for.
    """
    size = target_size(models)
    resolution = max(size, *(model.encoder.input_size for model in models.values()))
    pairs = [HeldOutPairs(group, size, o.seed) for group in open_groups(task, o.data, resolution, o.source_data)]
    count = count_images(o.num_images, pairs, o.data, DEFAULT_IMAGES)
    key = {"data": data_key(o.data, o.source_data, resolution), "seed": o.seed, "size": size}
    return [HeldOutSet(part.name, part, count, {**key, "task": part.key}, o.batch_size, device) for part in pairs]


def own_task(held_out: HeldOutSet) -> Task:
    """Return the task of a held-out set, with the settings of its group."""
    assert isinstance(held_out.pairs, HeldOutPairs)
    return held_out.pairs.group.task


def target_size(models: Mapping[str, PSp]) -> int:
    """Return the side, in pixels, of the compared images, which is the same for all generators."""
    return min(LOSS_SIZE, next(iter(models.values())).generator.img_resolution)


def rows_of(task: Task, models: Mapping[str, PSp], paired: bool, optimised: list[Method]) -> list[Method]:
    """List the rows of a table: the mean face of the first model, the task's baselines, the encoders, and `optimised`.

    `paired` says whether the sources are files of the user instead of being derived from the targets.
    """
    encoders = [encode_and_render(model, name) for name, model in models.items()]
    floor = [mean_face(next(iter(models.values()))), *task.baselines(encoders[0].source_size, paired)]
    variants = [variant for row in encoders for variant in task.variants(row)]
    return [*floor, *encoders, *variants, *optimised]


def optimisations(o: Evaluate, models: Mapping[str, PSp], itself: bool) -> list[Method]:
    """List the rows that optimise the codes of the first model; `itself` says whether the source is the target."""
    optimisation_steps, refine_steps = o.steps(itself)
    if not (refine_steps or optimisation_steps):
        return []
    name, model = next(iter(models.items()))
    losses = build_losses(LAMBDAS, perceptual={"network": o.perceptual}).to(model.latent_avg.device)
    refined = [refine(model, losses, refine_steps, name)] if refine_steps else []
    return [*refined, *([optimise(model, losses, optimisation_steps)] if optimisation_steps else [])]


def checkpoints_of(o: Evaluate, loaded: Mapping[str, tuple[PSp, Metadata]]) -> dict[str, dict[str, object]]:
    """Describe the file of each model: {name of the row: {"path", "encoder", "cur_step"}}."""
    return {
        name: {"path": path, "encoder": built_as(model.encoder)["name"], "cur_step": metadata.get("cur_step")}
        for (name, (model, metadata)), (_, path) in zip(loaded.items(), o.models(), strict=True)
    }


def main(o: Evaluate) -> int:
    group = join_group()
    device = group.device(o.prepare())
    o = with_folder(o, f"evaluation-{label(o.models()[0][1])}")
    settings = {"free": ("batch_size",), "growing": ("checkpoint_path",), "marks": WRITES[:1]}
    record = record_for(o, "evaluate", writes=WRITES, **settings)
    seed_step(o.seed, 0, 0)
    loaded = load_models(o.models())
    models, task = {name: model for name, (model, _) in loaded.items()}, shared_task(loaded)
    sets = held_out_sets(o, task, models, device)
    mixing = o.mixing() if o.n_outputs and task.multi_modal else None
    if mixing is not None:
        mask_rows(mixing.mask, next(iter(models.values())).generator.num_ws)  # reports an invalid mask at once

    labelled = task.keeps_labels and (o.segmenter is not None or o.data == SYNTHETIC)
    segmenter = pick_segmenter(o.segmenter, task.source_channels) if labelled else None
    metrics = build_metrics(segmenter, perceptual={"network": o.perceptual}, id={"network": o.identity})
    for module in (*models.values(), metrics):
        place(module, device)

    precision = pick_precision(o.precision, device)
    titles = metrics.titles(target_size(models))
    header = {
        "task": task.registered_name,
        "images": sets[0].count,
        "data": o.data,
        "source_data": o.source_data,
        "precision": precision,
        "networks": metrics.networks,
        "labels": titles,
        "checkpoints": checkpoints_of(o, loaded),
    }
    paired = o.source_data is not None
    optimised = optimisations(o, models, itself=task.inverts and not paired)
    rows = [(held_out, rows_of(own_task(held_out), models, paired, optimised)) for held_out in sets]
    record.write()
    group.check_folder(o.folder)
    jobs = quality_jobs(rows, metrics, o.folder, SHOWN, precision)
    if mixing is not None:
        jobs += diversity_jobs(sets, models, metrics.perceptual, mixing, o.folder)
    if not group.is_alone or waits(jobs):
        evaluate_jobs(jobs, group)  # the results are stored, and the tables below are made from them
    skipped_lines = group.gather("left out", "\n".join(left_out([held_out.pairs for held_out in sets])))
    if not group.is_first:
        return 0
    show_sources = paired or task.pictures_source
    report = compare_methods(rows, metrics, o.folder, header, titles, SHOWN, show_sources, precision)
    if mixing is not None:
        compare_diversity(sets, models, metrics.perceptual, mixing, o.folder, report)
    skipped_lines.append("\n".join(left_out([held_out.pairs for held_out in sets])))  # the tables read more
    lost = sorted({line for lines in skipped_lines for line in lines.splitlines()})
    if lost:  # other images were used in place of these
        write_text(o.folder / "left_out.txt", "".join(f"{printable(reason)}\n" for reason in lost))
        print(f"{len(lost)} files could not be read, see {o.folder}{os.sep}left_out.txt", file=sys.stderr)
    print(f"written to {o.folder}: metrics.json, table.md, comparison.png, per_image/")
    return int(bool(lost))


if __name__ == "__main__":
    of_generator = any(flag.partition("=")[0] == "--generator" for flag in sys.argv[1:])
    if of_generator:
        run(evaluate_generator.main, evaluate_generator.EvaluateGenerator)
    run(main, Evaluate, shares=True)
