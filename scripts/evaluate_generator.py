"""Measure a generator: python scripts/evaluate_generator.py --generator runs/faces64 --metrics fd_effnet,ppl"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

import torch

import stylegan2
from datasets.labelled import open_labelled
from datasets.sources import SYNTHETIC, images_key, open_images
from datasets.synthetic import HELD_OUT_SEED, TRAINING_SEED
from options.evaluate_generator import EvaluateGenerator
from options.parse import parse, run
from psp.evaluation.attributes import classifier_side
from psp.evaluation.generator import MetricInputs, evaluate_generator, parse_metrics
from psp.evaluation.real_images import RealImages
from stylegan2.metrics.results import as_json, as_markdown
from stylegan2.runtime import images
from stylegan2.runtime.device import place
from stylegan2.runtime.files import write_text

SHEET = 64  # samples in the picture
SETTINGS = (
    "num_samples", "batch_size", "seed", "truncation_psi", "perceptual", "inception", "crop", "attribution_images",
    "projection_steps",
)  # fmt: skip


def main(args: Sequence[str] | None = None) -> None:
    o = parse(EvaluateGenerator, args=args)
    device = o.prepare()
    generator, _ = stylegan2.load(o.generator)
    place(generator.requires_grad_(False), device)
    names = parse_metrics(o.metrics, generator)
    resolution, channels = generator.img_resolution, generator.img_channels
    pixels = open_images(o.data, resolution, channels, seed=TRAINING_SEED)
    num_real = o.num_real or (o.num_samples if o.data == SYNTHETIC else len(pixels))
    inputs = MetricInputs(
        generator,
        RealImages(pixels, images_key(o.data, pixels, resolution, channels), num_real),
        open_images(o.data, resolution, channels, seed=HELD_OUT_SEED),
        open_labelled(o.data, classifier_side(resolution), o.labels) if "separability" in names else None,
        **{name: getattr(o, name) for name in SETTINGS},
    )
    sheet = torch.cat([batch.cpu() for batch in inputs.sample(SHEET)])  # [SHEET, C, R, R]
    images.write_image(o.out.with_suffix(".png"), images.grid(sheet, columns=8))

    results = evaluate_generator(inputs, names)
    about = {"generator": o.generator, "data": o.data, "truncation_psi": o.truncation_psi, "seed": o.seed}
    write_text(o.out, as_json(results, about))
    table = as_markdown(results, about)
    write_text(o.out.with_suffix(".md"), table)
    print(table)
    print(f"written: {o.out}, {o.out.with_suffix('.md').name}, {o.out.with_suffix('.png').name}")


if __name__ == "__main__":
    run(main)
