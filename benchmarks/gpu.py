"""Speed and memory on a GPU: python benchmarks/gpu.py [--nvidia FOLDER] [--official FOLDER] [--out FILE.json]

The parts are the FIR filter and the epilogue of a convolution, compared with the memory bandwidth in the same run;
training of StyleGAN2 and of pSp; inference; and the kernels of a training step. Other projects' code runs in the same
process, in turns with ours. On a CPU, everything runs at toy sizes, which only shows that the benchmark works. Weights
are untrained.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import _start  # noqa: F401
import torch
from torch import Tensor

from benchmarks import operators, peers
from benchmarks.clock import copy_rate, libraries, milliseconds, peak_gb, profiled
from benchmarks.measure import write_figures
from benchmarks.operators import DTYPES, OURS
from benchmarks.phases import Form, amortised, parts
from benchmarks.train_stylegan2 import own_form
from benchmarks.works import Row, Work, machine, measure_works, table
from options.networks import chosen_settings
from options.parse import parse, run
from psp.encoders import encoder_for
from psp.losses import WeightedLosses, build_losses
from psp.model import PSp
from psp.precision import autocast
from psp.trainer import step as psp_step
from psp.training_settings import TrainingSettings
from psp.training_state import buffers_of_step, build_state
from scripts.train_stylegan2 import TrainStyleGAN2
from stylegan2.networks.precision import set_precision
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.device import pick_device, place, tune_process
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages

HIGHEST = f"{OURS}, 4 highest resolutions"


class Sizes(NamedTuple):
    maps: tuple[int, int, int, int]
    """shape of the operators' inputs, [N, C, H, W]"""
    copied: int
    """number of float32 values in the copy that measures the memory bandwidth"""
    gan: list[str]
    """flags of train_stylegan2"""
    psp_resolution: int
    psp_widths: dict[str, int]
    psp_batch: int
    losses: dict[str, float]
    batches: tuple[int, ...]
    """batch sizes of inference"""


FULL = Sizes(
    maps=(16, 128, 256, 256),
    copied=2**28,
    gan=["--preset", "auto", "--resolution", "256", "--channel_base", "16384", "--batch_size", "32"],
    psp_resolution=1024,
    psp_widths={},
    psp_batch=8,
    losses={"l2": 1.0, "perceptual": 0.8, "id": 0.1},
    batches=(1, 8),
)
TOY = Sizes(
    maps=(2, 8, 16, 16),
    copied=2**16,
    gan=["--preset", "tiny-cpu", "--resolution", "16", "--channel_base", "128", "--z_dim", "8", "--batch_size", "4"],
    psp_resolution=32,
    psp_widths={"z_dim": 16, "w_dim": 16, "channel_base": 256, "channel_max": 16, "mapping_layers": 1},
    psp_batch=2,
    losses={"l2": 1.0},
    batches=(1, 2),
)


# ------------------------------------------------------------------------------------------ operators


def filter_works(o: "Benchmark", s: Sizes, device: torch.device) -> list[Work]:
    return operators.filter_works(s.maps, copy_rate(device, s.copied), device, o.nvidia)


def epilogue_works(o: "Benchmark", s: Sizes, device: torch.device) -> list[Work]:
    return operators.epilogue_works(s.maps, copy_rate(device, s.copied), device, o.nvidia)


# ------------------------------------------------------------------------------------ training, StyleGAN2


def gan_settings(s: Sizes) -> TrainStyleGAN2:
    return parse(TrainStyleGAN2, chosen_settings, args=s.gan)


def own_gan(s: Sizes, precision: str, device: torch.device) -> Form:
    return own_form(gan_settings(s), OURS, device, DTYPES.get(precision, torch.float32))


def nvidia_gan(folder: Path, s: Sizes, precision: str, device: torch.device) -> Form:
    settings = gan_settings(s)
    names = ("resolution", "channel_base", "channel_max", "z_dim", "w_dim", "mapping_layers")
    sizes = {name: getattr(settings.network, name) for name in names}
    return peers.nvidia_form(folder, device, precision == "fp16", sizes, settings.training.batch_size)


def gan_works(o: "Benchmark", s: Sizes, device: torch.device) -> list[Work]:
    makers = [(OURS, precision, partial(own_gan, s, precision, device)) for precision in o.precisions]
    if o.nvidia is not None:
        theirs = [precision for precision in ("fp16", "tf32") if precision in o.precisions]
        makers += [
            (peers.NVIDIA, precision, partial(nvidia_gan, o.nvidia, s, precision, device)) for precision in theirs
        ]
    makers.sort(key=lambda maker: o.precisions.index(maker[1]))  # forms of one precision are measured one after another
    return [
        Work({"form": form, "precision": precision}, partial(measure_gan, make, s, form, precision, device))
        for form, precision, make in makers
    ]


def measure_gan(
    make: Callable[[], Form], s: Sizes, form: str, precision: str, device: torch.device, seconds: float
) -> Row:
    """Measure the step without lazy phases, the time that each phase adds, and the average images per second."""
    batch = gan_settings(s).training.batch_size
    with libraries(precision, search=form != OURS):
        made = make()
        ms = {name: milliseconds(call, device, seconds / len(made.steps)) for name, call in made.steps.items()}
    added = parts(ms, made.phases)
    return {
        "step, ms": added["step"],
        "R1 adds": added["R1"],
        "path length adds": added["path length"],
        "images/s": batch / amortised(ms, made.phases) * 1000,
        "peak GB": peak_gb(device),
    }


# ------------------------------------------------------------------------------------------- pSp


def psp_model(s: Sizes, device: torch.device) -> PSp:
    torch.manual_seed(0)
    with device:  # a GPU draws random weights quickly
        generator = GENERATORS.build("stylegan2", s.psp_resolution, **s.psp_widths)
        model = PSp(encoder_for(generator), generator).eval()
    place(model, device)
    return model


def psp_images(size: int, batch: int, device: torch.device) -> Tensor:
    return torch.randn(batch, 3, size, size, device=device).clamp(-1, 1)


def psp_losses(s: Sizes, device: torch.device) -> WeightedLosses:
    losses = build_losses(s.losses)
    place(losses, device)
    return losses


def psp_works(o: "Benchmark", s: Sizes, device: torch.device) -> list[Work]:
    works = [
        Work({"form": OURS, "precision": precision}, partial(measure_own_psp, s, precision, device))
        for precision in o.precisions
        if precision != "fp16"  # the training of pSp needs the range of float32
    ]
    if o.official is not None and s is FULL:
        case = {"form": peers.OFFICIAL, "precision": "tf32"}
        works.append(Work(case, partial(measure_official_psp, o.official, s, device)))
    return works


def measure_own_psp(s: Sizes, precision: str, device: torch.device, seconds: float) -> Row:
    model = psp_model(s, device)
    images = psp_images(model.encoder.input_size, s.psp_batch, device)
    settings = TrainingSettings()
    state = build_state(model, settings)
    guard = Guard(settings.max_nonfinite_steps, buffers_of_step(state), device=device)
    losses, averages = psp_losses(s, device), Averages()

    def step() -> None:
        with guard.step():
            psp_step(
                state,
                images,
                images,
                losses=losses,
                settings=settings,
                guard=guard,
                averages=averages,
                precision=precision,
            )

    with libraries(precision):
        ms = milliseconds(step, device, seconds)
        optimizer = milliseconds(state.optimizer.step, device, seconds / 4)
    return training_row(ms, optimizer, s, device)


def measure_official_psp(folder: Path, s: Sizes, device: torch.device, seconds: float) -> Row:
    model, losses = peers.official_model(folder, device), psp_losses(s, device)
    images = psp_images(256, s.psp_batch, device)
    with libraries("tf32", search=True):
        ms = milliseconds(lambda: model.step(images, losses), device, seconds)
        optimizer = milliseconds(model.optimizer.step, device, seconds / 4)
    return training_row(ms, optimizer, s, device)


def training_row(ms: float, optimizer: float, s: Sizes, device: torch.device) -> Row:
    rate = s.psp_batch / ms * 1000
    return {"step, ms": ms, "of it the optimizer": optimizer, "images/s": rate, "peak GB": peak_gb(device)}


# -------------------------------------------------------------------------------------- inference


def inference_works(o: "Benchmark", s: Sizes, device: torch.device) -> list[Work]:
    """List the measurements of the encoder and of the generator at each batch size."""
    works = []
    for network in ("generator", "encoder"):
        for batch in s.batches:
            makers = [(OURS, precision, partial(own_pass, s, network, batch, precision)) for precision in o.precisions]
            if network == "generator":
                halves = [precision for precision in o.precisions if precision in ("fp16", "bf16")]
                makers += [(HIGHEST, name, partial(highest_pass, s, batch, name)) for name in halves]
            if o.nvidia is not None and network == "generator":
                theirs = [precision for precision in ("fp16", "tf32") if precision in o.precisions]
                makers += [(peers.NVIDIA, name, partial(nvidia_pass, o.nvidia, s, batch, name)) for name in theirs]
            if o.official is not None and s is FULL:
                makers.append((peers.OFFICIAL, "tf32", partial(official_pass, o.official, network, batch)))
            for form, precision, make in makers:
                case = {"network": network, "batch": batch, "form": form, "precision": precision}
                works.append(Work(case, partial(measure_pass, make, form, precision, batch, device)))
    return works


def own_pass(s: Sizes, network: str, batch: int, precision: str, device: torch.device) -> Callable[[], object]:
    model = psp_model(s, device)
    images = psp_images(model.encoder.input_size, batch, device)
    codes = model.latent_avg + torch.randn(batch, *model.latent_avg.shape, device=device)  # [N, num_ws, w_dim]

    def call() -> object:
        with autocast(device, precision):
            return model.encode(images) if network == "encoder" else model.decode(codes)

    return call


def highest_pass(s: Sizes, batch: int, precision: str, device: torch.device) -> Callable[[], object]:
    """Build a pass of the generator as in training: 4 highest resolutions in 16 bits, the others in float32."""
    model = psp_model(s, device)
    set_precision(model.generator, DTYPES[precision])
    codes = model.latent_avg + torch.randn(batch, *model.latent_avg.shape, device=device)  # [N, num_ws, w_dim]
    return lambda: model.decode(codes)


def nvidia_pass(folder: Path, s: Sizes, batch: int, precision: str, device: torch.device) -> Callable[[], object]:
    sizes = {"z_dim": 512, "w_dim": 512, "channel_base": 32768, "channel_max": 512, "mapping_layers": 8}
    sizes |= {**s.psp_widths, "resolution": s.psp_resolution}
    generator: Any = peers.nvidia_generator(folder, device, precision == "fp16", sizes).eval()
    codes = torch.randn(batch, generator.num_ws, generator.w_dim, device=device)  # [N, num_ws, w_dim]
    return lambda: generator.synthesis(codes, noise_mode="const")


def official_pass(folder: Path, network: str, batch: int, device: torch.device) -> Callable[[], object]:
    model = peers.official_model(folder, device)
    model.encoder.eval()
    images, codes = psp_images(256, batch, device), torch.randn(batch, 18, 512, device=device)
    return (lambda: model.encode(images)) if network == "encoder" else (lambda: model.render(codes))


def measure_pass(
    make: Callable[[torch.device], Callable[[], object]],
    form: str,
    precision: str,
    batch: int,
    device: torch.device,
    seconds: float,
) -> Row:
    with libraries(precision, search=not form.startswith(OURS)), torch.inference_mode():
        ms = milliseconds(make(device), device, seconds)
    return {"ms": ms, "images/s": batch / ms * 1000, "peak GB": peak_gb(device)}


# ------------------------------------------------------------------------------------ kernels of a step


def profile_works(o: "Benchmark", s: Sizes, device: torch.device) -> list[Work]:
    precision = "fp16" if "fp16" in o.precisions else o.precisions[0]
    return [
        Work({"step": step, "precision": precision}, partial(measure_kernels, s, step, precision, device))
        for step in ("step", "R1", "path length")
    ]


def measure_kernels(s: Sizes, step: str, precision: str, device: torch.device, seconds: float) -> Row:
    with libraries(precision):
        return profiled(own_gan(s, precision, device).steps[step], device)


# ------------------------------------------------------------------------------------------- all


PARTS: dict[str, Callable[["Benchmark", Sizes, torch.device], list[Work]]] = {
    "filter": filter_works,
    "epilogue": epilogue_works,
    "gan": gan_works,
    "psp": psp_works,
    "inference": inference_works,
    "profile": profile_works,
}


@dataclass(frozen=True)
class Benchmark:
    """Measure the time, images per second and peak memory of operators, training and inference on a GPU."""

    only: list[str] = field(default_factory=lambda: list(PARTS))
    """parts to run: filter, epilogue, gan, psp, inference, profile"""
    precisions: list[str] = field(default_factory=lambda: ["fp16", "bf16", "tf32", "fp32"])
    """precisions of training and inference"""
    seconds: float = 30.0
    """time for each part in seconds; a measurement that has started is completed"""
    nvidia: Path | None = None
    """checkout of NVlabs/stylegan3 to compare with"""
    official: Path | None = None
    """checkout of eladrich/pixel2style2pixel to compare with"""
    device: str = "auto"
    """auto, cpu or cuda"""
    out: Path | None = None
    """JSON file for all figures, written after each of them"""

    def __post_init__(self) -> None:
        if unknown := set(self.only) - set(PARTS):
            raise UserError(f"there is no part {min(unknown)!r}: choose from {', '.join(PARTS)}")
        if unknown := set(self.precisions) - {*DTYPES, "tf32"}:
            raise UserError(f"there is no precision {min(unknown)!r}: choose from fp32, tf32, fp16 and bf16")
        for folder in (self.nvidia, self.official):
            if folder is not None and not folder.is_dir():
                raise UserError(f"{folder} is not a folder: give a checkout, or leave it out")


def measure_part(o: Benchmark, part: str, device: torch.device, keep: Callable[[Row], None]) -> None:
    """Measure all works of a part, and pass each row of the table to `keep`."""
    measure_works(PARTS[part](o, FULL if device.type == "cuda" else TOY, device), o.seconds, device, keep)


def main(o: Benchmark) -> int:
    device = pick_device(o.device)
    if device.type != "cuda":
        o = replace(o, precisions=[precision for precision in o.precisions if precision != "fp16"])  # GPUs only
    tune_process()
    about = {**machine(device), "sizes": "full" if device.type == "cuda" else "toy"}
    report: dict[str, Any] = {"machine": about, "parts": {}}
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    for part in o.only:
        rows = report["parts"][part] = []

        def keep(row: Row, rows: list[Row] = rows) -> None:
            rows.append(row)
            write_figures(o.out, report)

        start = time.perf_counter()
        measure_part(o, part, device, keep)
        print(f"\n### {part} ({time.perf_counter() - start:.0f} s)\n\n{table(rows)}", flush=True)
    failed = [row for rows in report["parts"].values() for row in rows if "failed" in row]
    return 1 if failed else 0


if __name__ == "__main__":
    run(main, Benchmark)
