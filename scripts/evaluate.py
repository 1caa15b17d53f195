"""Measure encoders: python scripts/evaluate.py --checkpoint_path runs/psp [NAME=runs/other ...] [--data FOLDER]

With --generator it is scripts/evaluate_generator.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

from collections.abc import Mapping

from datasets.held_out import HeldOutPairs, count_images, data_key, open_groups, shared_task
from datasets.sources import SYNTHETIC
from datasets.tasks import Group
from options.evaluate import DEFAULT_IMAGES, Evaluate
from options.parse import parse, run
from psp.evaluation.encoders import HeldOutSet, compare_diversity, compare_methods
from psp.evaluation.methods import Method, encode_and_render, load_models, mean_face, optimise, refine
from psp.evaluation.metrics import build_metrics, pick_segmenter
from psp.losses import build_losses
from psp.mixing import mask_rows
from psp.model import LOSS_SIZE, PSp
from psp.optimize import LAMBDAS
from scripts import evaluate_generator
from stylegan2.runtime.device import place
from stylegan2.runtime.randomness import seed_step
from stylegan2.runtime.registry import built_as

SHOWN = 12  # images in the comparison picture


def optimisations(o: Evaluate, name: str, model: PSp, itself: bool) -> list[Method]:
    """The rows that bring the rendering closer to the image, step by step."""
    optimisation_steps, refine_steps = o.steps(itself)
    if not (refine_steps or optimisation_steps):
        return []
    losses = build_losses(LAMBDAS, perceptual={"network": o.perceptual}).to(model.latent_avg.device)
    refined = [refine(model, losses, refine_steps, name)] if refine_steps else []
    return [*refined, *([optimise(model, losses, optimisation_steps)] if optimisation_steps else [])]


def rows_of(group: Group, models: Mapping[str, PSp], paired: bool, optimised: list[Method]) -> list[Method]:
    """List the rows of a group's table: mean face, baselines, encoders, and optimisation.

    Args:
        models: {name of the row: model}; the mean face is the first one's.
        paired: The sources are files of the user's, not derived from the targets.
    """
    first = next(iter(models.values()))
    encoders = [encode_and_render(model, name) for name, model in models.items()]
    floor = [mean_face(first), *group.task.baselines(encoders[0].source_size, paired)]
    variants = [variant for row in encoders for variant in group.task.variants(row)]
    return [*floor, *encoders, *variants, *optimised]


def main() -> None:
    o = parse(Evaluate)
    device = o.prepare()
    seed_step(o.seed, 0, 0)
    loaded = load_models(o.models())
    models, task = {name: model for name, (model, _) in loaded.items()}, shared_task(loaded)
    name, first = next(iter(models.items()))
    size = min(LOSS_SIZE, first.generator.img_resolution)
    resolution = max(size, *(model.encoder.input_size for model in models.values()))
    paired = o.source_data is not None

    pairs = [HeldOutPairs(group, size, o.seed) for group in open_groups(task, o.data, resolution, o.source_data)]
    count = count_images(o.num_images, pairs, o.data, DEFAULT_IMAGES)
    mixing = o.mixing() if o.n_outputs and task.multi_modal else None
    if mixing is not None:
        mask_rows(mixing.mask, first.generator.num_ws)  # a mistake shows now
    labelled = task.keeps_labels and (o.segmenter is not None or o.data == SYNTHETIC)
    segmenter = pick_segmenter(o.segmenter, task.source_channels) if labelled else None
    metrics = build_metrics(segmenter, perceptual={"network": o.perceptual}, id={"network": o.identity})
    for module in (*models.values(), metrics):
        place(module, device)

    key = {"data": data_key(o.data, o.source_data, resolution), "seed": o.seed, "size": size}
    sets = [
        HeldOutSet(
            part.group.name,
            part,
            count,
            {**key, "task": [part.group.task.registered_name, part.group.task.config]},
            o.batch_size,
            device,
        )
        for part in pairs
    ]
    titles = metrics.titles(size)
    header = {
        "task": task.registered_name,
        "images": count,
        "data": o.data,
        "source_data": o.source_data,
        "networks": metrics.networks,
        "labels": titles,
        "checkpoints": {
            name: {"path": path, "encoder": built_as(model.encoder)["name"], "cur_step": metadata.get("cur_step")}
            for (name, (model, metadata)), (_, path) in zip(loaded.items(), o.models(), strict=True)
        },
    }
    optimised = optimisations(o, name, first, itself=task.inverts and not paired)
    rows = [(part, rows_of(part.pairs.group, models, paired, optimised)) for part in sets]
    report = compare_methods(rows, metrics, o.exp_dir, header, titles, SHOWN, paired or task.pictures_source)
    if mixing is not None:
        compare_diversity(sets, models, metrics.perceptual, mixing, o.exp_dir, report)
    print(f"written to {o.exp_dir}: metrics.json, table.md, comparison.png, per_image/")


if __name__ == "__main__":
    of_generator = any(flag.partition("=")[0] == "--generator" for flag in sys.argv[1:])
    run(evaluate_generator.main if of_generator else main)
