"""Write only the model of a run: python scripts/export.py --checkpoint_path runs/mine --out mine.safetensors --half"""

import _start  # noqa: F401

# isort: split

from pathlib import Path

import torch

import psp
import stylegan2
from options.commands.export import Export
from options.parse import run
from options.results import check_new
from psp import loading
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import UserError

HISTORY = ("optimizer", "optimizers", "best_loss")  # metadata of the training, not of the model


def main(o: Export) -> None:
    if o.out.suffix != ".safetensors":
        raise UserError(f"--out must end in .safetensors, not {o.out.name!r}")
    check_new((o.out,), o.overwrite)
    dtype = torch.float16 if o.half else None
    load, save = loaders(Path(o.checkpoint_path))
    model, metadata = load(o.checkpoint_path)
    kept = {key: value for key, value in metadata.items() if key not in HISTORY}
    save(o.out, model, {**kept, "licence": o.licence}, dtype)
    print(f"{o.out}: {o.out.stat().st_size / 1e6:.1f} MB")


def loaders(path: Path) -> tuple:
    """Return the functions (load, save) for the kind of model in a checkpoint or experiment folder."""
    _, metadata = checkpoint.read_newest(path)[1:] if path.is_dir() else checkpoint.read(path)
    kind = metadata.get("kind")
    if kind == "psp":
        return loading.load, psp.save_model
    return stylegan2.load, stylegan2.save_generator


if __name__ == "__main__":
    run(main, Export)
