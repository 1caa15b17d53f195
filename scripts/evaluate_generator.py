"""Measure a generator: python scripts/evaluate_generator.py --generator runs/faces64 --metrics fd_effnet,ppl"""

import _start  # noqa: F401

# isort: split

from pathlib import Path

import torch

import stylegan2
from datasets.labelled import open_labelled
from datasets.sources import SYNTHETIC, images_key, open_images
from datasets.synthetic import HELD_OUT_SEED, TRAINING_SEED
from options.commands.evaluate_generator import EvaluateGenerator
from options.parse import run
from options.results import Record, check_new, label, plain_settings
from psp.evaluation.attributes import classifier_side
from psp.evaluation.features import RealImages
from psp.evaluation.generator import MetricInputs, evaluate_generator, parse_metrics
from stylegan2.metrics.results import as_json, as_markdown
from stylegan2.networks.precision import set_precision
from stylegan2.runtime import images
from stylegan2.runtime.device import place
from stylegan2.runtime.files import write_text

SHEET = 64  # number of samples on the sheet


def main(o: EvaluateGenerator) -> None:
    device = o.prepare()
    out = o.out or Path("runs") / f"evaluation-{label(o.generator)}" / "metrics.json"
    check_new((out.with_suffix(suffix) for suffix in (".json", ".md", ".png")), o.overwrite)
    generator, _ = stylegan2.load(o.generator)
    place(generator.requires_grad_(False), device)
    set_precision(generator, torch.bfloat16 if o.precision == "bf16" else torch.float32)
    names = parse_metrics(o.metrics, generator)
    resolution, channels = generator.img_resolution, generator.img_channels
    pixels = open_images(o.data, resolution, channels, seed=TRAINING_SEED)
    num_real = o.num_real or (o.num_samples if o.data == SYNTHETIC else len(pixels))
    inputs = MetricInputs(
        generator,
        RealImages(pixels, images_key(o.data, pixels, resolution, channels), num_real),
        open_images(o.data, resolution, channels, seed=HELD_OUT_SEED),
        open_labelled(o.data, classifier_side(resolution), o.labels) if "separability" in names else None,
        num_samples=o.num_samples,
        batch_size=o.batch_size,
        seed=o.seed,
        truncation_psi=o.truncation_psi,
        perceptual=o.perceptual,
        inception=o.inception,
        crop=o.crop,
        attribution_images=o.attribution_images,
        projection_steps=o.projection_steps,
    )
    sheet = torch.cat([batch.cpu() for batch in inputs.sample(SHEET)])  # [SHEET, C, R, R]
    Record(out.with_suffix(".yaml"), "evaluate_generator", plain_settings(o)).write()
    images.write_image(out.with_suffix(".png"), images.grid(sheet, columns=8))

    results = evaluate_generator(inputs, names)
    about = {"generator": o.generator, "data": o.data, "truncation_psi": o.truncation_psi}
    about |= {"precision": o.precision, "seed": o.seed}
    write_text(out, as_json(results, about))
    table = as_markdown(results, about)
    write_text(out.with_suffix(".md"), table)
    print(table)
    print(f"written: {out}, {out.with_suffix('.md').name}, {out.with_suffix('.png').name}")


if __name__ == "__main__":
    run(main, EvaluateGenerator)
