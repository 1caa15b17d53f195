"""Everything once, in minutes: python scripts/demo.py (which is what `make demo` runs)."""

import _start  # noqa: F401

# isort: split

import json
import subprocess
import sys
from pathlib import Path

from datasets.demo_photos import write_sample_photos
from options.commands.demo import Demo
from options.parse import run
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import write_text

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = "synthfaces64_inversion"
UNREADABLE = 1  # exit code of inference when a file was left out, as the broken sample is on purpose


def script(name: str, *arguments: object, expect: int = 0) -> None:
    """Run one of our scripts as a user would, showing what it prints."""
    command = [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)]
    print(f"\n$ python scripts/{name} {' '.join(map(str, arguments))}", flush=True)
    code = subprocess.run(command, check=False).returncode
    if code != expect:
        raise UserError(f"scripts/{name} ended with exit code {code}: see its message above")


def main(o: Demo) -> None:
    out, common = o.exp_dir, ("--device", o.device, "--seed", o.seed)
    print("1/3  Training an inversion encoder for a short while on the embedded faces")
    script(
        "train_psp.py", "--task", "inversion", "--preset", "demo", "--exp_dir", out / "training",
        "--max_steps", o.max_steps, *common,
    )  # fmt: skip

    print("\n2/3  Inference with the shipped encoder over a folder of photos")
    photos = out / "photos"
    count = write_sample_photos(photos)
    print(f"{count} sample photos in {photos}; one of them is broken on purpose")
    script(
        "inference.py", "--data_path", photos, "--exp_dir", out, "--checkpoint_path", SHIPPED, *common,
        expect=UNREADABLE,
    )  # fmt: skip

    print("\n3/3  Measuring the shipped encoder on held-out faces")
    script(
        "evaluate.py", "--checkpoint_path", f"encoder={SHIPPED}", "--exp_dir", out / "evaluation",
        "--num_images", o.num_images, "--optimisation_steps", 0, "--refine_steps", 0, *common,
    )  # fmt: skip
    report = json.loads((out / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    encoder, mean_face = report["results"]["encoder"], report["results"]["mean face"]
    metrics = {name: encoder[name] for name in ("mse", "perceptual", "identity")}
    metrics |= {f"{name}_mean_face": mean_face[name] for name in ("mse", "perceptual", "identity")}
    metrics |= {"images": report["images"], "networks": report["networks"]}
    write_text(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")

    print(f"\nLook at {out / 'contact_sheet.jpg'} and {out / 'inference_results'}: what the encoder made of the photos")
    print(f"        {out / 'evaluation' / 'comparison.png'}: held-out faces, the mean face, the encoder")
    print(f"        {out / 'metrics.json'}: {json.dumps(metrics)}")
    print(f"        tensorboard --logdir {out / 'training'}: the training, its losses and image rows")


if __name__ == "__main__":
    run(main, Demo)
