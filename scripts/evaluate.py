"""Measure encoders: python scripts/evaluate.py --checkpoint_path runs/psp [NAME=runs/other ...] [--data FOLDER]

With --generator it is scripts/evaluate_generator.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

from datasets.evaluation import MULTI_MODAL, Comparison, measure_all, measure_all_diversity, pick_segmenter
from datasets.held_out import HeldOutPairs, count_images, data_key, open_groups, shared_task
from datasets.sources import SYNTHETIC
from datasets.tasks.inversion import Inversion
from options.evaluate import DEFAULT_IMAGES, Evaluate
from options.parse import parse, run
from psp.evaluation import Gauge, Method, Plan, load_models, optimise, refine
from psp.evaluation.metrics import build_meters
from psp.losses import build_losses
from psp.mixing import mask_rows
from psp.model import PSp
from scripts import evaluate_generator
from stylegan2.runtime.device import place
from stylegan2.runtime.randomness import seed_step

LOSS_SIZE = 256  # the paper's losses and metrics look at 256 px; smaller generators are looked at as they are
SHOWN = 12  # images in the comparison picture
LAMBDAS = {"l2": 1.0, "perceptual": 0.8}  # of optimisation, as inversion is trained


def optimisations(o: Evaluate, name: str, model: PSp, itself: bool) -> list[Method]:
    """The rows that bring the rendering closer to the image, step by step."""
    optimisation_steps, refine_steps = o.steps(itself)
    if not (refine_steps or optimisation_steps):
        return []
    losses = build_losses(LAMBDAS, perceptual={"network": o.perceptual}).to(model.latent_avg.device)
    refined = [refine(model, losses, refine_steps, name)] if refine_steps else []
    return [*refined, *([optimise(model, losses, optimisation_steps)] if optimisation_steps else [])]


def main() -> None:
    o = parse(Evaluate)
    device = o.prepare()
    seed_step(o.seed, 0, 0)
    loaded = load_models(o.models())
    models, task = {name: model for name, (model, _) in loaded.items()}, shared_task(loaded)
    name, first = next(iter(models.items()))
    size = min(LOSS_SIZE, first.generator.img_resolution)
    resolution = max(size, *(model.encoder.input_size for model in models.values()))
    pairs = [HeldOutPairs(group, size, o.seed) for group in open_groups(task, o.data, resolution, o.source_data)]
    count = count_images(o.num_images, pairs, o.data, DEFAULT_IMAGES)
    mixing = o.mixing() if o.n_outputs and task.registered_name in MULTI_MODAL else None
    if mixing is not None:
        mask_rows(mixing.mask, first.generator.num_ws)  # a mistake shows now
    segmenter = pick_segmenter(o.segmenter, task, o.data == SYNTHETIC)
    meters = build_meters(perceptual={"network": o.perceptual}, id={"network": o.identity})
    for module in (*models.values(), meters, *([segmenter] if segmenter else [])):
        place(module, device)

    gauge = Gauge(meters, size, segmenter)
    more = optimisations(o, name, first, itself=isinstance(task, Inversion) and o.source_data is None)
    comparison = Comparison(models, pairs, gauge, more, paired=o.source_data is not None)
    data = {"data": data_key(o.data, o.source_data, resolution), "seed": o.seed, "size": size}
    plan = Plan(count, o.exp_dir / "per_image", data, o.batch_size, device, SHOWN)
    checkpoints = {
        name: {"path": path, "encoder": model.encoder.registered_name, "cur_step": metadata.get("cur_step")}
        for (name, (model, metadata)), (_, path) in zip(loaded.items(), o.models(), strict=True)
    }
    header = {
        "task": task.registered_name,
        "images": count,
        "data": o.data,
        "source_data": o.source_data,
        "networks": gauge.networks,
        "labels": gauge.labels,
        "checkpoints": checkpoints,
    }
    report = measure_all(comparison, plan, header, o.exp_dir)
    if mixing is not None:
        measure_all_diversity(comparison, plan, mixing, report, o.exp_dir)
    print(f"written to {o.exp_dir}: metrics.json, table.md, comparison.png, per_image/")


if __name__ == "__main__":
    of_generator = any(flag.partition("=")[0] == "--generator" for flag in sys.argv[1:])
    run(evaluate_generator.main if of_generator else main)
