"""Show all features in minutes: python scripts/demo.py (or: make demo)"""

import _start  # noqa: F401

# isort: split

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

import stylegan2
from options.commands.demo import Demo
from options.parse import run
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import write_text
from stylegan2.runtime.image_reader import read_image
from stylegan2.runtime.images import labelled_sheet, resize, to_uint8, write_image
from stylegan2.runtime.randomness import seeded_normal

ROOT = Path(__file__).resolve().parent.parent
INVERSION, DIRECTIONS = "portraits64_inversion", "portraits64_directions"
EDITS = {
    "smiling": ("smile", 2.5),
    "older": ("age", 2.5),
    "with glasses": ("glasses", 3.5),
    "turned": ("yaw", -2.0),
}
"""{column of the picture: (direction, strength)}"""
TASKS: dict[str, tuple[str, ...]] = {
    "completed": ("portraits64_inpainting", "--mask_data", "hole.png", "--paste_known"),
    "restored": ("portraits64_super_resolution", "--resize_factors", "4"),
    "drawn": ("portraits64_toonify",),
}
"""{column of the picture: (model, *flags)}; files are in the folder of the demo"""
SHOWS_SOURCE = ("completed", "restored")  # the sources of these models are shown in a separate column
SIDE = 128  # px, side of a picture on the sheet
NOT_ALL_READ = (0, 1)  # exit codes of inference; 1 means that a file was left out, like the broken sample photo
GENERATOR, SEED, PSI = "portraits64", 7, 0.5  # of the people in the sample photos
RESOLUTION = 512  # px, side of a sample photo
PEOPLE = 6
TILT_DEGREES = (0, 15, 0, -20, 0, 0)
EXIF_ORIENTATION, EXIF_ROTATED = 0x0112, 6  # the stored image has to be rotated by 90 degrees for display


def script(name: str, *arguments: object, expect: tuple[int, ...] = (0,)) -> None:
    """Run a script of this folder as a user would, and show its output.

    Raises:
        UserError: The exit code is not one of `expect`.
    """
    command = [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)]
    print(f"\n$ python scripts/{name} {' '.join(map(str, arguments))}", flush=True)
    code = subprocess.run(command, check=False).returncode
    if code not in expect:
        raise UserError(f"scripts/{name} ended with exit code {code}: see its message above")


def make_picture(out: Path, photos: Path, common: tuple[object, ...]) -> Path:
    """Invert and edit the photos, run the tasks on them, and write people.png with one row per person; return its path.

    `common` are flags of all commands.
    """
    inverted, edited = out / "inverted", out / "edited"
    script(
        "inference.py", "--checkpoint_path", INVERSION, "--data_path", photos, "--exp_dir", inverted, *common,
        expect=NOT_ALL_READ,
    )  # fmt: skip
    for column, (direction, strength) in EDITS.items():
        script(
            "edit.py", "--directions", DIRECTIONS, "--latents", inverted / "latents.npz", "--names", direction,
            f"--strengths={strength:g}", "--exp_dir", edited / column, *common[:2],
        )  # fmt: skip
    write_image(out / "hole.png", hole(SIDE))
    for column, (model, *flags) in TASKS.items():
        flags = [out / flag if flag.endswith(".png") else flag for flag in flags]
        script(
            "inference.py", "--checkpoint_path", model, "--data_path", photos, "--exp_dir", out / column,
            *flags, *common, expect=NOT_ALL_READ,
        )  # fmt: skip
    people = sorted(path.stem for path in (inverted / "inference_results").glob("*.png"))
    titles = ["photo", "inverted", *EDITS]
    for column in TASKS:
        titles += ["seen", column] if column in SHOWS_SOURCE else [column]
    write_image(out / "people.png", labelled_sheet([row(out, name) for name in people], titles))
    return out / "people.png"


def hole(side: int) -> np.ndarray:
    """Draw the mask, uint8 [side, side, 1], of a missing rectangle, in white, on the right half of a face."""
    mask = np.zeros((side, side, 1), np.uint8)
    mask[side // 4 : 3 * side // 4, side // 2 : 7 * side // 8] = 255
    return mask


def row(out: Path, name: str) -> list[np.ndarray]:
    """Read the pictures of one person, uint8 [128, 128, 3] each."""
    pictures = halves(out / "inverted" / "inference_coupled" / f"{name}.png")
    for column, (direction, strength) in EDITS.items():
        pictures.append(read_image(out / "edited" / column / direction / f"{name}_{strength:+g}.png"))
    for column in TASKS:
        seen, result = halves(out / column / "inference_coupled" / f"{name}.png")
        pictures += [seen, result] if column in SHOWS_SOURCE else [result]
    return [resize(picture, (SIDE, SIDE)) for picture in pictures]


def halves(path: Path) -> list[np.ndarray]:
    """Read a picture with source and result side by side, and return both, uint8 [R, R, 3] each."""
    return np.split(read_image(path), 2, axis=1)  # 2 x [R, R, 3]


# --- sample photos: a real photograph, generated people, some of them rotated, and one damaged file ---


@torch.inference_mode()
def write_sample_photos(folder: Path) -> int:
    """Write the sample photos as JPEG files into `folder`, the same ones at every call.

    Returns:
        The number of files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()).save(folder / "astronaut.jpg", quality=95)
    generator, _ = stylegan2.load(GENERATOR)
    z = seeded_normal((PEOPLE + 2, generator.z_dim), SEED)
    people = [enlarged(picture) for picture in to_uint8(generator(z, truncation_psi=PSI))]
    for index, tilt in enumerate(TILT_DEGREES):
        edge = tuple(int(v) for v in people[index][0].mean(0))  # fills the corners that rotation leaves empty
        face = Image.fromarray(people[index]).rotate(tilt, Image.Resampling.BICUBIC, expand=True, fillcolor=edge)
        face.save(folder / f"person{index}.jpg", quality=95)
    _write_exif_rotated(people[PEOPLE], folder / "exif_rotated.jpg")
    _write_truncated(people[PEOPLE + 1], folder / "broken.jpg")
    return PEOPLE + 3


def enlarged(picture: np.ndarray) -> np.ndarray:
    """Resize an image, uint8 [H, W, 3], to the size of the sample photos, [512, 512, 3]."""
    return np.asarray(Image.fromarray(picture).resize((RESOLUTION, RESOLUTION), Image.Resampling.LANCZOS))


def _write_exif_rotated(image: np.ndarray, path: Path) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = EXIF_ROTATED
    Image.fromarray(np.rot90(image)).save(path, quality=95, exif=exif)


def _write_truncated(image: np.ndarray, path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 3])


def main(o: Demo) -> None:
    out, common = o.exp_dir, ("--device", o.device, "--seed", o.seed)
    print("1/3  Photographs: the same people, edited, completed, restored and drawn, by the shipped models")
    for earlier in ("inverted", "edited", *TASKS):
        shutil.rmtree(out / earlier, ignore_errors=True)
    photos = o.photos or out / "photos"
    if o.photos is None:
        count = write_sample_photos(photos)
        print(f"{count} sample photos in {photos}; one of them is broken on purpose")
    picture = make_picture(out, photos, common)

    print("\n2/3  Training an inversion encoder for a short while on procedural faces")
    script(
        "train_psp.py", "--task", "inversion", "--preset", "demo", "--exp_dir", out / "training",
        "--max_steps", o.max_steps, *common,
    )  # fmt: skip

    print("\n3/3  Measuring it on held-out faces")
    script(
        "evaluate.py", "--checkpoint_path", f"encoder={out / 'training'}", "--exp_dir", out / "evaluation",
        "--num_images", o.num_images, "--optimisation_steps", 0, "--refine_steps", 0, "--overwrite", *common,
    )  # fmt: skip
    evaluation = json.loads((out / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    encoder, mean_face = evaluation["results"]["encoder"], evaluation["results"]["mean face"]
    metrics = {name: encoder[name] for name in ("mse", "perceptual", "identity")}
    metrics |= {f"{name}_mean_face": mean_face[name] for name in ("mse", "perceptual", "identity")}
    metrics |= {"images": evaluation["images"], "networks": evaluation["networks"]}
    write_text(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")

    print(f"\nLook at {picture}: the photos, and what the models made of them")
    print(f"        {out / 'inverted'}: their codes, a manifest, and pictures one by one")
    print(
        f"        {out / 'evaluation' / 'comparison.png'}: held-out faces, the mean face, the encoder trained just now"
    )
    print(f"        {out / 'metrics.json'}: {json.dumps(metrics)}")
    print(f"        tensorboard --logdir {out / 'training'}: the training, its losses and image rows")


if __name__ == "__main__":
    run(main, Demo)
