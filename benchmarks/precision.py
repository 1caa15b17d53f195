"""Loss of quality by 16-bit numbers: python benchmarks/precision.py [--data FOLDER] [--total_nimg N] [--device cuda]

The benchmark trains StyleGAN2 in float32 with several seeds and in a reduced precision with the same ones, all from the
same data, and compares their Frechet distances. The loss is acceptable if the distances in reduced precision lie within
the spread of those in float32. Trainings that are already in the folder are resumed or only read.

A CPU computes convolutions in float16 a tenth as fast as in float32. Therefore they are computed there as a GPU does
it: the factors are float16, products are summed in float32, and the result is rounded to float16.
"""

import contextlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import _start  # noqa: F401
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measure import in_own_process
from options.networks import chosen_settings
from options.parse import parse, run
from scripts import train_stylegan2
from stylegan2.runtime.device import tune_process

METRIC = "fd_effnet"
SHARED = ("data", "resolution", "channel_base", "channel_max", "total_nimg", "metrics_samples", "device")
"""options that are those of train_stylegan2.py"""


@dataclass(frozen=True)
class Benchmark:
    """Compare the quality of short trainings in float32 and in 16-bit numbers."""

    data: str = "synthetic"
    """images, as for train_stylegan2.py"""
    resolution: int = 32
    """side of the images in pixels"""
    channel_base: int = 512
    """width of the networks, as for train_stylegan2.py"""
    channel_max: int = 32
    """most channels of a layer"""
    total_nimg: int = 40_000
    """number of images shown in each training"""
    metrics_samples: int = 2000
    """number of generated images that are compared with as many real ones"""
    precision: Literal["fp16", "bf16"] = "fp16"
    """the reduced precision; fp16 is what train_stylegan2.py chooses on CUDA"""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """seeds of the trainings"""
    device: str = "cpu"
    """cuda or cpu"""
    exp_dir: Path = Path("runs/precision")
    """folder of the trainings"""
    out: Path | None = None
    """JSON file to write"""
    worker: list[str] = field(default_factory=list)
    """precision and seed of one training; set only by the benchmark itself, in its processes"""


class RoundedConvolutions(TorchDispatchMode):
    """Compute convolutions of 16-bit numbers and their gradients in float32, and round the results."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        convolutions = (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default)
        if func not in convolutions or args[0].dtype not in (torch.float16, torch.bfloat16):
            return func(*args, **(kwargs or {}))
        dtype = args[0].dtype
        results = func(*(x.float() if isinstance(x, Tensor) else x for x in args), **(kwargs or {}))
        if isinstance(results, Tensor):
            return results.to(dtype)
        return tuple(None if x is None else x.to(dtype) for x in results)


def flags_of(o: Benchmark) -> list[str]:
    """Return the options that the benchmark shares with train_stylegan2.py as flags."""
    return [word for name in SHARED for word in (f"--{name}", str(getattr(o, name)))]


def train(o: Benchmark, precision: str, seed: int) -> float:
    """Train a generator in this process, and return its Frechet distance."""
    tune_process()
    folder = o.exp_dir / f"{precision}-{seed}"
    flags = ["--preset", "tiny-cpu", *flags_of(o), "--metrics", METRIC, "--metrics_interval", str(o.total_nimg // 4)]
    flags += ["--precision", precision, "--seed", str(seed), "--exp_dir", str(folder)]
    sys.argv = [train_stylegan2.__file__, *flags]  # from which the script reads which settings are given
    with RoundedConvolutions() if o.device == "cpu" else contextlib.nullcontext():
        train_stylegan2.main(parse(train_stylegan2.TrainStyleGAN2, chosen_settings, args=flags))
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return next(value for record in reversed(records) for name, value in record.items() if METRIC in name)


def table(distances: dict[str, list[float]], seeds: list[int]) -> str:
    """Format the distances as a Markdown table with one row per precision, and say where the reduced ones lie."""
    lines = [f"| {METRIC} | {' | '.join(f'seed {seed}' for seed in seeds)} | mean |", "|---" * (len(seeds) + 2) + "|"]
    for precision, values in distances.items():
        cells = [f"{value:.4f}" for value in [*values, sum(values) / len(values)]]
        lines.append(f"| {' | '.join([precision, *cells])} |")
    full, (name, reduced) = distances["fp32"], list(distances.items())[-1]
    inside = sum(min(full) <= value <= max(full) for value in reduced)
    lines.append(f"\n{inside} of {len(reduced)} trainings in {name} lie within the spread of those in fp32.")
    return "\n".join(lines)


def main(o: Benchmark) -> None:
    if o.worker:
        precision, seed = o.worker
        print(json.dumps(train(o, precision, int(seed))))
        return
    distances: dict[str, list[float]] = {"fp32": [], o.precision: []}
    for seed in o.seeds:  # in turns, so that whatever is ended early has pairs
        for precision, values in distances.items():
            values.append(in_own_process(__file__, *flags_of(o), "--exp_dir", o.exp_dir, "--worker", precision, seed))
            print(f"{precision}, seed {seed}: {METRIC} {values[-1]:.4f}", flush=True)
    if o.out is not None:
        o.out.write_text(json.dumps({"seeds": o.seeds, "distances": distances}, indent=1) + "\n", encoding="utf-8")
    print(f"\n{table(distances, o.seeds)}")


if __name__ == "__main__":
    run(main, Benchmark)
