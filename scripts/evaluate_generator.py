"""Measure a generator: python scripts/evaluate_generator.py --generator runs/faces64 --metrics fd_effnet,ppl"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

import torch
from torch import Tensor, nn

import stylegan2
from datasets.attributes import attribute_classifier
from datasets.feature_cache import RealImages
from datasets.sources import SYNTHETIC, open_images
from datasets.synthetic import HELD_OUT_SEED
from options.evaluate_generator import EvaluateGenerator
from options.parse import parse, run
from psp.evaluation.features import feature_network
from psp.evaluation.generator import Bench, Distance, chosen, evaluate_generator
from psp.losses.lpips import perceptual_loss
from psp.pretrained_files import PRETRAINED
from stylegan2.latents.project import Schedule, project
from stylegan2.metrics.report import as_json, as_markdown
from stylegan2.runtime import images
from stylegan2.runtime.device import place

SHEET = 64  # samples in the picture


def build_bench(o: EvaluateGenerator, generator: nn.Module, device: torch.device) -> Bench:
    resolution, channels = int(generator.img_resolution), int(generator.img_channels)  # type: ignore[arg-type]

    def perceptual() -> tuple[str, Distance]:
        auto = "vgg" if PRETRAINED.find("vgg16") else "effnet"
        name, distance = perceptual_loss(auto if o.perceptual == "auto" else o.perceptual)
        return name, distance.to(device)

    def classifier() -> tuple:
        network, accuracies = attribute_classifier(resolution, o.data, o.labels, device)
        return network.names, network, accuracies

    def resynthesise(targets: Tensor, distance: Distance) -> Tensor:
        return project(generator, targets, distance, schedule=Schedule(steps=o.projection_steps, seed=o.seed)).images

    return Bench(
        generator,
        RealImages(o.data, resolution, channels, o.num_real or (o.num_samples if o.data == SYNTHETIC else None)),
        open_images(o.data, resolution, channels, seed=HELD_OUT_SEED),
        lambda name: feature_network(name, o.inception if name == "inception" else None, device),
        perceptual,
        classifier,
        resynthesise,
        **{name: getattr(o, name) for name in SETTINGS},
    )


SETTINGS = (
    "num_samples", "batch_size", "seed", "truncation_psi", "crop", "attribution_images", "projection_steps",
)  # fmt: skip


def main(args: Sequence[str] | None = None) -> None:
    o = parse(EvaluateGenerator, args=args)
    device = o.prepare()
    generator, _ = stylegan2.load(o.generator)
    place(generator.requires_grad_(False), device)
    names = chosen(o.metrics, generator)
    bench = build_bench(o, generator, device)
    sheet = torch.cat([batch.cpu() for batch in bench.sample(SHEET)])  # [SHEET, C, R, R]
    images.write_image(o.out.with_suffix(".png"), images.grid(sheet, columns=8))

    results = evaluate_generator(bench, names)
    about = {"generator": o.generator, "data": o.data, "truncation_psi": o.truncation_psi, "seed": o.seed}
    o.out.write_text(as_json(results, about), encoding="utf-8")
    table = as_markdown(results, about)
    o.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)
    print(f"written: {o.out}, {o.out.with_suffix('.md').name}, {o.out.with_suffix('.png').name}")


if __name__ == "__main__":
    run(main)
