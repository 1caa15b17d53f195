"""Speed on a CPU, compared with plain formulas and peers: python benchmarks/cpu.py [--nvidia PATH] [--official PATH]

The cases are inference, a training step of pSp, and training of StyleGAN2. Each case is measured in several forms:
ours, the formulas of the paper with a depthwise convolution as filter (see `plain`), and other projects' code from
checkouts of the user. The forms of a case are measured in turns, together with a convolution that represents the peak
speed of the machine. Weights are untrained.

With `--threads 1`, times are the CPU time of the process, which other processes hardly affect. Otherwise they are wall
time.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import _start  # noqa: F401
import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.measure import PEAK_GFLOP, convolution_peak, in_own_process, markdown, processor, write_figures
from benchmarks.phases import Form, Phase, amortised, count_gflop, parts
from benchmarks.psp import Calls, inference_calls, training_calls
from benchmarks.train_stylegan2 import own_form
from options.networks import chosen_settings
from options.parse import parse, run
from psp.encoders import encoder_for
from psp.losses import build_losses
from psp.model import PSp
from scripts.train_stylegan2 import TrainStyleGAN2
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.device import place, tune_process
from stylegan2.runtime.errors import UserError

CPU = torch.device("cpu")
OURS, DEPTHWISE = "ours", "depthwise"
PEAK, PEAK_CALLS = "convolution peak", 4
Result = dict[str, Any]


class Case(NamedTuple):
    kind: str
    """inference, psp or gan"""
    batch: int = 1
    resolution: int = 1024
    """resolution of the generator in pixels"""
    flags: tuple[str, ...] = ()
    """flags of train_stylegan2, for kind gan"""


WIDE = ("--preset", "auto", "--resolution", "64", "--batch_size", "8", "--channel_base")
CASES = {
    "inference": Case("inference"),
    "inference, batch 4": Case("inference", 4),
    "psp step": Case("psp", resolution=256),
    "psp step, 1024 px": Case("psp"),
    "gan tiny-cpu": Case("gan", 8, 64, ("--preset", "tiny-cpu")),
    "gan 4096": Case("gan", 8, 64, (*WIDE, "4096")),
    "gan 16384": Case("gan", 8, 64, (*WIDE, "16384")),
}
TOY_GAN = ("--preset", "tiny-cpu", "--resolution", "16", "--channel_base", "128", "--z_dim", "8", "--batch_size", "2")
TOY_WIDTHS = {"z_dim": 16, "w_dim": 16, "channel_base": 256, "channel_max": 16, "mapping_layers": 1}
CLOCKS = {"core": time.process_time, "wall": time.perf_counter}


@dataclass(frozen=True)
class Benchmark:
    """Measure inference and training on a CPU, compared with plain formulas, peers and the convolution peak."""

    cases: list[str] = field(default_factory=lambda: list(CASES))
    """cases to measure: inference, "inference, batch 4", "psp step" (256 px), "psp step, 1024 px", gan tiny-cpu, gan
    4096 and gan 16384 (64 px with these channel bases)"""
    nvidia: Path | None = None
    """checkout of NVlabs/stylegan3 to compare with"""
    official: Path | None = None
    """checkout of eladrich/pixel2style2pixel to compare with"""
    repetitions: int = 5
    """number of measured calls of each form, after one that is not measured"""
    threads: int | None = None
    """number of threads, by default one per processor"""
    toy: bool = False
    """use tiny networks, which only show that the benchmark works"""
    out: Path | None = None
    """JSON file for all figures, written after each case"""
    worker: list[str] = field(default_factory=list)
    """forms to measure; set only by the benchmark itself, in its processes"""

    def __post_init__(self) -> None:
        if unknown := set(self.cases) - set(CASES):
            raise UserError(f"there is no case {min(unknown)!r}: choose from {', '.join(CASES)}")
        for folder in (self.nvidia, self.official):
            if folder is not None and not folder.is_dir():
                raise UserError(f"{folder} is not a folder: give a checkout, or leave it out")
        if self.repetitions < 1:
            raise UserError(f"--repetitions must be at least 1, not {self.repetitions}")


# ------------------------------------------------------------------------------------------- the forms


def forms_of(o: Benchmark, name: str) -> list[str]:
    """List the forms of a case that can be measured."""
    case, forms = CASES[name], [OURS, DEPTHWISE]
    if o.nvidia is not None and case.kind != "psp":
        forms.append(peers.NVIDIA)
    if o.official is not None and not o.toy and case.kind != "gan" and case.resolution == 1024:
        forms.append(peers.OFFICIAL)  # the official model has only this size
    return forms


def build(o: Benchmark, name: str, form: str) -> Form:
    """Build one form of a case, whose steps are in the order in which they are called."""
    case = CASES[name]
    torch.manual_seed(0)
    if case.kind == "gan":
        return gan_form(o, case, form)
    if form == peers.NVIDIA:
        return Form(nvidia_inference(o, case), {}, 0)
    if form == peers.OFFICIAL:
        return Form(official_calls(o, case), {}, 0)
    model, images = own_model(o, case)
    if form == OURS:
        place(model, CPU)
    calls = (inference_calls if case.kind == "inference" else training_calls)(model, images, form)
    return Form(calls, {}, 0)


def own_model(o: Benchmark, case: Case) -> tuple[PSp, Tensor]:
    """Build our model, and random images [N, 3, S, S] for its encoder."""
    generator = GENERATORS.build("stylegan2", 32 if o.toy else case.resolution, **(TOY_WIDTHS if o.toy else {}))
    model = PSp(encoder_for(generator), generator).eval()
    size = model.encoder.input_size
    return model, torch.randn(case.batch, 3, size, size).clamp(-1, 1)


def gan_form(o: Benchmark, case: Case, form: str) -> Form:
    settings = parse(TrainStyleGAN2, chosen_settings, args=list(TOY_GAN if o.toy else case.flags))
    if form != peers.NVIDIA:
        return own_form(settings, form)
    sizes = {name: getattr(settings.network, name) for name in ("resolution", "channel_base", "channel_max")}
    sizes |= {name: getattr(settings.network, name) for name in ("z_dim", "w_dim", "mapping_layers")}
    theirs = peers.nvidia_form(folder_of(o.nvidia), CPU, False, sizes, settings.training.batch_size)
    s = settings.training
    return replace(
        theirs, phases={"R1": Phase(s.r1_interval, "step"), "path length": Phase(s.path_length_interval, "step")}
    )


def nvidia_inference(o: Benchmark, case: Case) -> Calls:
    """Build the inference of NVIDIA's generator; NVIDIA's code has no encoder."""
    sizes = {"z_dim": 512, "w_dim": 512, "channel_base": 32768, "channel_max": 512, "mapping_layers": 8}
    sizes |= {**TOY_WIDTHS, "resolution": 32} if o.toy else {"resolution": case.resolution}
    generator: Any = peers.nvidia_generator(folder_of(o.nvidia), CPU, False, sizes).eval()
    codes = torch.randn(case.batch, generator.num_ws, generator.w_dim)  # [N, num_ws, w_dim]

    @torch.inference_mode()
    def render() -> Tensor:
        return generator.synthesis(codes, noise_mode="const")

    return {"generator": render}


def official_calls(o: Benchmark, case: Case) -> Calls:
    model = peers.official_model(folder_of(o.official), CPU)
    images = torch.randn(case.batch, 3, 256, 256).clamp(-1, 1)
    if case.kind == "psp":
        losses = build_losses({"l2": 1.0, "perceptual": 0.8, "id": 0.1})
        return {"step": lambda: model.step(images, losses)}
    model.encoder.eval()
    codes = torch.randn(case.batch, 18, 512)
    return {
        "encoder": torch.inference_mode()(lambda: model.encode(images)),
        "generator": torch.inference_mode()(lambda: model.render(codes)),
    }


def folder_of(folder: Path | None) -> Path:
    assert folder is not None  # this form is measured only with a checkout
    return folder


# ----------------------------------------------------------------------------------------- measuring


def measure(o: Benchmark, name: str) -> Result:
    """Measure the forms `o.worker` of one case in turns, in a process of its own."""
    tune_process()
    if o.threads:
        torch.set_num_threads(o.threads)
    clock = CLOCKS["core" if torch.get_num_threads() == 1 else "wall"]
    forms = {form: build(o, name, form) for form in o.worker}
    gflop = {form: {step: count_gflop(call) for step, call in made.steps.items()} for form, made in forms.items()}
    samples: Result = {form: {step: [] for step in made.steps} for form, made in forms.items()}
    peak, peaks = convolution_peak(torch.float32, PEAK_CALLS), []
    peak()
    for _ in range(o.repetitions):
        for form, made in forms.items():
            peaks.append(seconds_of(peak, clock))
            for step, call in made.steps.items():
                samples[form][step].append(seconds_of(call, clock))
    phases = {form: made.phases for form, made in forms.items()}
    return {"samples": samples, "gflop": gflop, "phases": phases, "peak": peaks, "threads": torch.get_num_threads()}


def seconds_of(call: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def run_case(o: Benchmark, name: str) -> Result:
    """Measure all forms of a case.

    Each form of a pSp step has processes of its own, which are run in turns, because its optimizer needs gigabytes.
    """
    forms = forms_of(o, name)
    if CASES[name].kind != "psp":
        return summary(name, [spawn(o, name, forms, o.repetitions)])
    rounds = range(min(2, o.repetitions))
    return summary(name, [spawn(o, name, [form], -(-o.repetitions // len(rounds))) for _ in rounds for form in forms])


def spawn(o: Benchmark, name: str, forms: list[str], repetitions: int) -> Result:
    """Call `measure` in a process of its own."""
    flags: list[object] = ["--cases", name, "--repetitions", repetitions, "--worker", *forms]
    for flag in ("threads", "nvidia", "official"):
        value = getattr(o, flag)
        flags += [f"--{flag}", value] if value else []
    return in_own_process(__file__, *flags, *(["--toy"] if o.toy else []))


def summary(name: str, measured: list[Result]) -> Result:
    """Summarise the measurements of a case from all processes by their medians.

    Returns:
        {"peak": GFLOP/s, "threads": count, "forms": {form: {"ms", "images/s", "gflop", "share", "parts": {part: ms}}}}.
        Each phase of a training is weighted by its frequency.
    """
    peak = PEAK_CALLS * PEAK_GFLOP / statistics.median(value for process in measured for value in process["peak"])
    forms: dict[str, Result] = {}
    for form in dict.fromkeys(form for process in measured for form in process["samples"]):
        own = [process for process in measured if form in process["samples"]]
        phases = {step: Phase(*phase) for step, phase in own[0]["phases"][form].items()}
        gflop = amortised(own[0]["gflop"][form], phases)
        seconds = {
            step: statistics.median(value for process in own for value in process["samples"][form][step])
            for step in own[0]["samples"][form]
        }
        total = amortised(seconds, phases)
        forms[form] = {
            "ms": total * 1000,
            "images/s": CASES[name].batch / total,
            "gflop": gflop,
            "share": gflop / total / peak,
            "parts": {part: value * 1000 for part, value in parts(seconds, phases).items()},
        }
    return {"peak": peak, "threads": measured[0]["threads"], "forms": forms}


# ------------------------------------------------------------------------------------------ the table


def table(results: dict[str, Result]) -> str:
    """Format the results as a Markdown table with one row per form of each case."""
    titles = ["case", "form", "ms", "images/s", "time against ours", "share of the peak", "parts, ms"]
    rows = []
    for name, result in results.items():
        for form, row in result["forms"].items():
            shown = ", ".join(f"{part} {value:,.0f}" for part, value in row["parts"].items())
            cells = [name, form, f"{row['ms']:,.0f}", f"{row['images/s']:.3g}", f"{against_ours(result, form):.2f}"]
            rows.append([*cells, f"{row['share']:.0%}", shown])
    return markdown(titles, rows)


def against_ours(result: Result, form: str) -> float:
    """Return the time of a form divided by ours; a form with only some of our parts is compared on these parts."""
    theirs, ours = result["forms"][form]["parts"], result["forms"][OURS]["parts"]
    if theirs.keys() < ours.keys():
        return sum(theirs.values()) / sum(ours[part] for part in theirs)
    return result["forms"][form]["ms"] / result["forms"][OURS]["ms"]


def main(o: Benchmark) -> None:
    if o.worker:
        print(json.dumps(measure(o, o.cases[0])))
        return
    machine = {
        "processor": f"{processor()}, {torch.backends.cpu.get_cpu_capability()}",
        "torch": torch.__version__,
        "sizes": "toy" if o.toy else "full",
    }
    results: dict[str, Result] = {}
    for name in o.cases:
        results[name] = result = run_case(o, name)
        clock = "seconds of a core" if result["threads"] == 1 else "seconds of the wall clock"
        print(
            f"{name}: {result['threads']} threads, {clock}, convolution peak {result['peak']:.0f} GFLOP/s", flush=True
        )
        write_figures(o.out, {**machine, "cases": results})
    print(f"\n{machine['processor']}, PyTorch {machine['torch']}, {machine['sizes']} sizes\n\n{table(results)}")


if __name__ == "__main__":
    run(main, Benchmark)
