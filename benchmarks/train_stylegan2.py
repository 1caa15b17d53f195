"""Speed and memory of StyleGAN2's training on a CPU: python benchmarks/train_stylegan2.py [--out FILE.json]

The benchmark measures the step of our trainer on random images without lazy phases, with R1 and with path length, from
which it computes the average step. Two further forms, "by_channel" and "depthwise", run the same step with networks as
written in the paper, and are named after their filter (see `plain`). Ratios are relative to "depthwise", the faster of
the two. Each malloc setting and each peak of memory is measured in a process of its own. Within a process, all forms
are repeated in turns.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import _start  # noqa: F401
import torch
from torch import Tensor

from benchmarks import peers, plain
from benchmarks.measure import PEAK_GFLOP, convolution_peak, in_own_process, interleaved, peak_memory_mb, write_figures
from benchmarks.phases import Form, Phase, amortised, count_gflop, count_parameters, parts
from options.networks import chosen_settings
from options.parse import parse, run
from scripts.train_stylegan2 import TrainStyleGAN2
from stylegan2 import schedule
from stylegan2.networks.precision import set_precision
from stylegan2.runtime.device import place, tune_process
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.stats import Averages
from stylegan2.training_state import TrainingState, build_state
from stylegan2.training_step import step as step_gan

CPU = torch.device("cpu")
CASES = {"tiny": ["--preset", "tiny-cpu"], "auto256": ["--preset", "auto", "--resolution", "256"]}
BASELINE = "depthwise"
PEAK = "convolution peak"
PEAK_CALLS = 4
Result = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """Measure speed, share of the convolution peak and peak memory of our form, plain forms and stylegan2-pytorch."""

    cases: list[str] = field(default_factory=lambda: ["tiny"])
    """cases to measure: tiny (preset tiny-cpu, 64 px) and auto256 (preset auto at 256 px, which takes far longer)"""
    malloc: list[Literal["tuned", "default"]] = field(default_factory=lambda: ["tuned", "default"])
    """settings of the memory allocator to measure: tuned as in the scripts, or the default of the system"""
    repetitions: int = 5
    """number of measured calls of each step, after one that is not measured"""
    threads: int | None = None
    """number of threads, by default one per processor"""
    out: Path | None = None
    """JSON file for all figures"""
    worker: list[str] = field(default_factory=list)
    """forms to measure; set only by the benchmark itself, in its processes"""
    memory_only: bool = False
    """run every step only once, for the peak of memory; set only by the benchmark itself"""

    def __post_init__(self) -> None:
        if unknown := set(self.cases) - set(CASES):
            raise UserError(f"there is no case {min(unknown)!r}: choose from {', '.join(CASES)}")
        if self.repetitions < 1:
            raise UserError(f"--repetitions must be at least 1, not {self.repetitions}")


# ----------------------------------------------------------------------------------- what is measured


def settings_of(case: str) -> TrainStyleGAN2:
    """Return the settings of a case, parsed as by scripts/train_stylegan2.py."""
    return parse(TrainStyleGAN2, chosen_settings, args=CASES[case])


def build(
    settings: TrainStyleGAN2, name: str, device: torch.device = CPU, dtype: torch.dtype = torch.float32
) -> tuple[TrainingState, Tensor]:
    """Build untrained networks with their optimizers, and random images [N, C, R, R] for them.

    All forms have equal weights and the same trainer. A form of `plain` (a key of `plain.FILTERS`) has the formulas of
    the paper and the default memory layout; "ours" computes the highest resolutions in `dtype`.
    """
    torch.manual_seed(0)
    with device:
        G, D, G_ema = networks = cast(tuple[Any, Any, Any], settings.network.build())
    if name in plain.FILTERS:
        G.synthesis.forward = partial(plain.synthesis, G, fir=plain.FILTERS[name])
        D.forward = partial(plain.discriminator, D, fir=plain.FILTERS[name])
    else:
        for network in networks:
            place(network, device)
            set_precision(network, dtype)
    size = settings.network.resolution
    shape = (settings.training.batch_size, settings.network.channels, size, size)
    images = torch.randn(shape, device=device).clamp(-1, 1)
    return build_state(G, D, G_ema, settings.training), images


def own_form(
    settings: TrainStyleGAN2, name: str, device: torch.device = CPU, dtype: torch.dtype = torch.float32
) -> Form:
    """Build the step of our trainer; the arguments are those of `build`."""
    state, real = build(settings, name, device, dtype)
    s = settings.training
    r1_gamma = schedule.r1_gamma(real.shape[-1], len(real)) if s.r1_gamma is None else s.r1_gamma

    def step(**intervals: int) -> Callable[[], object]:
        lazy = replace(s, **{"r1_interval": 0, "path_length_interval": 0, **intervals})
        return lambda: step_gan(
            state, real, settings=lazy, r1_gamma=r1_gamma, averages=Averages(), guard=Guard(1, device=device)
        )

    return Form(
        {"step": step(), "R1": step(r1_interval=1), "path length": step(path_length_interval=1)},
        {"R1": Phase(s.r1_interval, "step"), "path length": Phase(s.path_length_interval, "step")},
        count_parameters(state.G, state.D),
    )


def build_forms(o: Benchmark, case: str) -> dict[str, Form]:
    """Configure the process and build the forms `o.worker`."""
    tune_process(malloc=o.malloc == ["tuned"])
    if o.threads:
        torch.set_num_threads(o.threads)
    settings = settings_of(case)
    own = [name for name in o.worker if name != peers.LUCIDRAINS]
    forms = {name: own_form(settings, name) for name in own}
    return forms if own == o.worker else {**forms, peers.LUCIDRAINS: peers.lucidrains_form(settings)}


def measure_case(o: Benchmark, case: str) -> Result:
    """Measure the forms `o.worker` of one case, in a process of its own."""
    forms = build_forms(o, case)
    calls: dict[str, Callable[[], object]] = {PEAK: convolution_peak(torch.float32, PEAK_CALLS)}
    calls |= {f"{name}: {step}": call for name, form in forms.items() for step, call in form.steps.items()}
    figures = interleaved(calls, o.repetitions)
    return {
        "threads": torch.get_num_threads(),
        "images": settings_of(case).training.batch_size,
        "peak": asdict(figures[PEAK]),
        "forms": {name: figures_of(name, form, figures) for name, form in forms.items()},
    }


def measure_memory(o: Benchmark, case: str) -> float | None:
    """Return the peak memory in MB of this process, which runs the steps of the forms `o.worker` once."""
    for form in build_forms(o, case).values():
        for call in form.steps.values():  # the first step creates the state of the optimizers
            call()
    return peak_memory_mb()


def figures_of(name: str, form: Form, figures: dict[str, Any]) -> Result:
    """Return all values of one form that the tables need."""
    return {
        "figures": {step: asdict(figures[f"{name}: {step}"]) for step in form.steps},
        "gflop": {step: count_gflop(call) for step, call in form.steps.items()},
        "phases": form.phases,
        "parameters": form.parameters,
    }


# ------------------------------------------------------------------------------- processes and the tables


def run_case(o: Benchmark, case: str, malloc: str, forms: list[str]) -> Result:
    """Measure all forms of a case with one malloc setting, and the peak memory of each form alone."""
    flags = ["--cases", case, "--malloc", malloc, *(["--threads", o.threads] if o.threads else [])]
    result = in_own_process(__file__, *flags, "--repetitions", o.repetitions, "--worker", *forms)
    memory = {form: in_own_process(__file__, *flags, "--memory_only", "--worker", form) for form in forms}
    return {**result, "peak_mb": memory}


def tables(case: str, malloc: str, result: Result) -> str:
    """Format the results of a case as Markdown tables.

    Shares of the peak are those of the fastest calls, which other processes affected least.
    """
    peak = PEAK_CALLS * PEAK_GFLOP / result["peak"]["fastest"]
    lines = [f"\n### {case}, batch {result['images']}, malloc {malloc}, threads: {result['threads']}\n"]
    lines += [f"{PEAK} (fp32): {peak:.0f} GFLOP/s, foreign load {percent(result['peak']['foreign'])}\n"]
    lines += ["| form | part | every | ms (median) | ms (fastest) | GFLOP | share, whole step | foreign load |"]
    lines += ["|---" * 8 + "|"]
    for name, form in result["forms"].items():
        lines += [f"| {name} | {row} |" for row in part_rows(form, peak)]
    titles = ["form", "images/s (median)", "images/s (fastest)", f"against {BASELINE}", "GFLOP an image"]
    titles += ["share of the peak", "foreign load", "parameters", "peak memory"]
    lines += [f"\n| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    baseline, _ = images_per_second(result["forms"][BASELINE], result["images"])
    for name, form in result["forms"].items():
        gflop = amortised(form["gflop"], phases_of(form)) / result["images"]
        rate, fastest = images_per_second(form, result["images"])
        cells = [name, f"{rate:.2f}", f"{fastest:.2f}", f"{rate / baseline:.2f}x", f"{gflop:.2f}"]
        cells += [percent(gflop * fastest / peak), percent(worst_load(form)), f"{form['parameters'] / 1e6:.2f} M"]
        memory = result["peak_mb"][name]
        lines.append("| " + " | ".join([*cells, "unknown" if memory is None else f"{memory:.0f} MB"]) + " |")
    return "\n".join(lines)


def part_rows(form: Result, peak: float) -> list[str]:
    """Format one row for the step without phases, and one for each phase with share and load of the step with it."""
    phases, figures = phases_of(form), form["figures"]
    median, fastest, gflop = (parts(steps, phases) for steps in (*times(form), form["gflop"]))
    rows = []
    for part, figure in figures.items():
        every = f"{phases[part].interval} steps" if part in phases else "step"
        share = form["gflop"][part] / figure["fastest"] / peak  # differences between steps are too inaccurate
        cells = [part, every, f"{median[part] * 1000:.0f}", f"{fastest[part] * 1000:.0f}", f"{gflop[part]:.1f}"]
        rows.append(" | ".join([*cells, percent(share), percent(figure["foreign"])]))
    return rows


def phases_of(form: Result) -> dict[str, Phase]:
    """Return the phases of a form, which JSON has converted to lists."""
    return {name: Phase(*phase) for name, phase in form["phases"].items()}


def times(form: Result) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median and the shortest time of each step in seconds."""
    median, fastest = (
        {step: figure[kind] for step, figure in form["figures"].items()} for kind in ("seconds", "fastest")
    )
    return median, fastest


def images_per_second(form: Result, images: int) -> tuple[float, float]:
    """Return the median and the highest number of images per second."""
    median, fastest = (images / amortised(steps, phases_of(form)) for steps in times(form))
    return median, fastest


def worst_load(form: Result) -> float | None:
    loads = [figure["foreign"] for figure in form["figures"].values() if figure["foreign"] is not None]
    return max(loads, default=None)


def percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"


def forms_here() -> list[str]:
    """List the forms that can be measured, and print what is missing for the others."""
    forms = [*plain.FILTERS, "ours"]
    try:
        peers.lucidrains_package()
    except UserError as error:
        print(error)
        return forms
    return [*forms, peers.LUCIDRAINS]


def main(o: Benchmark) -> None:
    if o.worker:
        print(json.dumps((measure_memory if o.memory_only else measure_case)(o, o.cases[0])))
        return
    results: Result = {}
    forms = forms_here()
    for case in o.cases:
        for malloc in o.malloc:
            results[f"{case} {malloc}"] = result = run_case(o, case, malloc, forms)
            print(tables(case, malloc, result), flush=True)
    write_figures(o.out, results)


if __name__ == "__main__":
    run(main, Benchmark)
