"""Measure an encoder: python scripts/evaluate.py --checkpoint_path runs/psp --data FOLDER"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

import numpy as np
import torch
from tqdm import tqdm

import psp
from datasets.sources import open_held_out
from options.evaluate import Evaluate
from options.parse import parse, run
from psp.evaluation import Method, encode_and_render, evaluate, mean_face, optimise, table
from psp.losses import build_losses
from psp.metrics import build_meters
from stylegan2.runtime import images
from stylegan2.runtime.device import place
from stylegan2.runtime.randomness import seed_step

SHOWN = 12  # images in the comparison picture
LOSS_SIZE = 256


def build_methods(o: Evaluate, model: psp.PSp, networks: dict[str, dict]) -> dict[str, Method]:
    methods = {"mean face": mean_face(model), "encoder": encode_and_render(model)}
    if o.optimisation_steps:
        losses = build_losses({"l2": 1.0, "perceptual": 0.8}, perceptual=networks["perceptual"])
        methods["W+ optimisation"] = optimise(model, losses.to(model.latent_avg.device), o.optimisation_steps)
    return methods


def stack(pixels: Sequence[np.ndarray], start: int, stop: int) -> torch.Tensor:
    """Images start to stop as one batch [N, 3, T, T]."""
    return torch.stack([images.to_tensor(pixels[i]) for i in range(start, stop)])  # [N, 3, T, T]


def main() -> None:
    o = parse(Evaluate)
    device = o.prepare()
    seed_step(o.seed, 0, 0)
    model, _ = psp.load(o.checkpoint_path)
    place(model, device)
    networks = {"perceptual": {"network": o.perceptual}, "id": {"network": o.identity}}
    meters = build_meters(**networks).to(device)
    size = min(LOSS_SIZE, model.generator.img_resolution)
    pixels = open_held_out(o.data, size)
    count = min(o.num_images, len(pixels))

    results, rows = {}, []
    for name, method in build_methods(o, model, networks).items():
        starts = tqdm(range(0, count, o.batch_size), desc=name, unit="batch")
        batches = (stack(pixels, start, min(start + o.batch_size, count)).to(device) for start in starts)
        results[name], outputs = evaluate(method, batches, meters, keep=SHOWN)
        rows.append(outputs)  # [SHOWN, 3, T, T]
    targets = stack(pixels, 0, min(SHOWN, count))  # [SHOWN, 3, T, T]
    shown = torch.cat([targets, *rows])  # [SHOWN * (1 + methods), 3, T, T]
    images.write_image(o.exp_dir / "comparison.png", images.grid(shown, columns=len(targets)))

    report = {"images": count, "data": o.data, "networks": meters.names, "results": results}
    (o.exp_dir / "metrics.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (o.exp_dir / "table.md").write_text(table(results, meters), encoding="utf-8")
    print(table(results, meters))
    print(f"written to {o.exp_dir}: metrics.json, table.md, comparison.png (rows: target, {', '.join(results)})")


if __name__ == "__main__":
    run(main)
