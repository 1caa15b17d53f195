"""How often samples show a face: python scripts/evaluate_generator.py --generator runs/faces64"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

import numpy as np
import torch
from tqdm import tqdm

import stylegan2
from datasets.sources import open_held_out
from options.evaluate_generator import EvaluateGenerator
from options.parse import parse, run
from psp.detect import build_detector
from stylegan2.runtime import images
from stylegan2.runtime.device import place
from stylegan2.runtime.randomness import seeded_normal

DETECTION_SIZE = 256  # small pictures are enlarged to this before the detector sees them
SHEET = 64  # samples in the picture
BATCH = 16


def face_rate(pictures: list[np.ndarray], name: str) -> float:
    """Share of the uint8 pictures [R, R, 3] in which MTCNN finds a face."""
    detect = build_detector("mtcnn")
    found = [
        bool(detect(images.resize(picture, (DETECTION_SIZE, DETECTION_SIZE))))
        for picture in tqdm(pictures, desc=name, unit="img")
    ]
    return float(np.mean(found))


@torch.no_grad()
def main() -> None:
    o = parse(EvaluateGenerator)
    device = o.prepare()
    generator, _ = stylegan2.load(o.generator)
    place(generator, device)
    data = open_held_out(o.data, generator.img_resolution)
    z = seeded_normal((o.num_images, generator.z_dim), o.seed, device)  # [N, z_dim]
    samples = torch.cat([generator(part, o.truncation_psi).cpu() for part in z.split(BATCH)])  # [N, 3, R, R]
    images.write_image(o.exp_dir / "samples.png", images.grid(samples[:SHEET], columns=8))

    rates = {
        "samples": face_rate(list(images.to_uint8(samples)), "samples"),
        "data": face_rate([data[i] for i in range(min(o.num_images, len(data)))], "data"),
    }
    report = {
        "detector": "MTCNN (facenet-pytorch)",
        "images": o.num_images,
        "truncation_psi": o.truncation_psi,
        "face_rate": rates,
        "ratio": rates["samples"] / max(rates["data"], 1e-9),
    }
    (o.exp_dir / "faces.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))
    print(f"written to {o.exp_dir}: faces.json, samples.png")


if __name__ == "__main__":
    run(main)
