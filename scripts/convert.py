"""Published checkpoints <-> ours: python scripts/convert.py to official-psp SRC OUT (or: to ours, inspect, verify)"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import options.process  # noqa: F401

# isort: split

import torch

import psp
import stylegan2
from options.convert import Convert
from options.parse import parse, run
from psp.convert import inspect, obstacles, to_official, verify
from stylegan2.runtime.checkpoint import atomic_file
from stylegan2.runtime.device import tune_process
from stylegan2.runtime.errors import CheckpointError, UserError


def to_official_psp(o: Convert) -> int:
    """Refuses what the published code could not build."""
    if o.out.suffix != ".pt":
        raise UserError(f"OUT must end in .pt, not {o.out.name!r}")
    model, metadata = psp.load(o.source)
    if reasons := obstacles(model):
        raise UserError(f"the published code cannot build {str(o.source)!r}: {'; '.join(reasons)}")
    with atomic_file(o.out) as file:
        torch.save(to_official(model, metadata.get("task", "inversion")), file)
    return written(o.out)


def to_ours(o: Convert) -> int:
    if o.out.suffix != ".safetensors":
        raise UserError(f"OUT must end in .safetensors, not {o.out.name!r}")
    model, metadata, save = load_any(o.source)
    save(o.out, model, metadata)
    return written(o.out)


def load_any(source: Path) -> tuple[Any, dict[str, Any], Any]:
    """(model, metadata, function that saves it) of an encoder with its generator, or of a generator alone."""
    try:
        return *psp.load(source), psp.save_model
    except CheckpointError as no_encoder:
        try:
            return *stylegan2.load(source), stylegan2.save_generator
        except CheckpointError:
            raise no_encoder from None


def written(out: Path) -> int:
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    return 0


def show(o: Convert) -> int:
    print("\n".join(inspect(o.source)))
    return 0


def check(o: Convert) -> int:
    passed = True
    for result in verify(o.source):
        print(f"{'ok  ' if result.passed else 'FAIL'} {result.text}", flush=True)
        passed &= result.passed
    return 0 if passed else 1


COMMANDS = {"to official-psp": to_official_psp, "to ours": to_ours, "inspect": show, "verify": check}


def main() -> int:
    options = parse(Convert)
    tune_process()
    if not options.source.exists():
        raise UserError(f"there is no file {str(options.source)!r}")
    return COMMANDS[options.command](options)


if __name__ == "__main__":
    run(main)
