"""Speed and memory of pSp with untrained weights: python benchmarks/psp.py [--cases inference] [--out FILE.json]

Each malloc setting and each peak of memory is measured in processes of its own. Within a process, all forms are
repeated in turns.
"""

import copy
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import _start  # noqa: F401
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain
from benchmarks.measure import (
    PEAK_GFLOP,
    Figure,
    convolution_peak,
    in_own_process,
    interleaved,
    peak_memory_mb,
    write_figures,
)
from options.parse import run
from psp.encoders import encoder_for
from psp.losses import build_losses
from psp.model import PSp
from psp.precision import autocast, difference_8bit
from psp.trainer import shrink
from psp.training_settings import TrainingSettings
from psp.training_state import build_state
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.device import place, tune_process
from stylegan2.runtime.errors import UserError

CPU = torch.device("cpu")
CASES = ("inference", "training", "light_inference", "light_training")
FORMS = {"inference": (*plain.FILTERS, "ours", "bf16"), "training": (*plain.FILTERS, "ours")}
REFERENCE = "depthwise"  # the faster implementation of the plain formula
TINY = {"z_dim": 128, "w_dim": 128, "channel_base": 2048, "channel_max": 128, "mapping_layers": 4}
LIGHT_BATCH = 8  # batch size of the light encoder, relative to the published encoder
PEAK_CALLS = 4
Calls = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Benchmark:
    """Measure the time, the share of the convolution peak and the peak memory of our form and of two plain forms."""

    cases: list[str] = field(default_factory=lambda: list(CASES))
    """cases to measure: inference (256 to 1024 px), training (256 px, published encoder), light_inference and
    light_training (64 px)"""
    malloc: list[Literal["tuned", "default"]] = field(default_factory=lambda: ["tuned", "default"])
    """settings of the memory allocator to measure: tuned as in the scripts, or the default of the system"""
    repetitions: int = 5
    """number of measured calls of each form, after one that is not measured"""
    batch: int = 1
    """batch size; that of the light encoder is eight times as large"""
    threads: int | None = None
    """number of threads, by default one per processor"""
    out: Path | None = None
    """JSON file for all figures"""
    worker: list[str] = field(default_factory=list)
    """forms to measure; set only by the benchmark itself, in its processes"""

    def __post_init__(self) -> None:
        if unknown := set(self.cases) - set(CASES):
            raise UserError(f"there is no case {min(unknown)!r}: choose from {', '.join(CASES)}")


# ----------------------------------------------------------------------------------- what is measured


def build(case: str, batch: int) -> tuple[PSp, Tensor]:
    """Build an untrained model with random noise strengths and biases, and images [N, 3, S, S] for it."""
    torch.manual_seed(0)
    if case.startswith("light"):
        generator, batch = GENERATORS.build("stylegan2", 64, **TINY), LIGHT_BATCH * batch
    else:
        generator = GENERATORS.build("stylegan2", 1024 if case == "inference" else 256)
    for parameter in generator.synthesis.parameters():
        if parameter.ndim < 2:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    model = PSp(encoder_for(generator), generator).eval()
    return model, torch.randn(batch, 3, model.encoder.input_size, model.encoder.input_size).clamp(-1, 1)


def inference_calls(model: PSp, images: Tensor, form: str) -> Calls:
    """Return {part: function} of inference for one form."""
    codes = model.latent_avg + torch.randn(len(images), *model.latent_avg.shape)  # [N, num_ws, w_dim]
    precision = "bf16" if form == "bf16" else "fp32"

    @torch.inference_mode()
    def encode() -> object:
        with autocast(CPU, precision):
            return model.encode(images)

    @torch.inference_mode()
    def render() -> Tensor:
        with autocast(CPU, precision):
            if form in plain.FILTERS:
                return plain.synthesis(model.generator, codes, fir=plain.FILTERS[form])
            return model.decode(codes)

    return {"encoder": encode, "generator": render}


def training_calls(model: PSp, images: Tensor, form: str) -> Calls:
    """Return {part: function} of a training step for one form, in the order in which they have to be called."""
    losses = build_losses({"l2": 1.0, "perceptual": 0.8, "id": 0.1})
    state = build_state(model, TrainingSettings())
    values: dict[str, Any] = {}

    def encode() -> None:
        values["w_plus"] = model.encode(images).w_plus

    def render() -> None:
        w_plus = values["w_plus"]
        if form in plain.FILTERS:
            output = plain.synthesis(model.generator, w_plus, fir=plain.FILTERS[form])
        else:
            output = model.decode(w_plus)
        values["output"] = shrink(output, images.shape[-1])

    def compare() -> None:
        terms = losses(source=images, target=images, latent_avg=model.latent_avg, **values)
        values["loss"] = losses.total(terms)

    def update() -> None:
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        del values["loss"]

    return {
        "encoder": encode,
        "generator": render,
        "losses": compare,
        "backward": lambda: values["loss"].backward(),
        "optimizer": update,
    }


def measure_case(o: Benchmark, case: str) -> dict[str, Any]:
    """Measure the forms `o.worker` of one case, in a process of its own."""
    tune_process(malloc=o.malloc == ["tuned"])
    if o.threads:
        torch.set_num_threads(o.threads)
    calls: Calls = {"peak fp32": convolution_peak(torch.float32, PEAK_CALLS)}
    if "bf16" in o.worker:
        calls["peak bf16"] = convolution_peak(torch.bfloat16, PEAK_CALLS)
    model, images = build(case, o.batch)
    flops = count_flops(model, images)
    placed = model
    if not plain.FILTERS.keys() >= set(o.worker):
        placed = copy.deepcopy(model) if plain.FILTERS.keys() & set(o.worker) else model
        place(placed, CPU)
    make = training_calls if case.endswith("training") else inference_calls
    for form in o.worker:
        torch.manual_seed(1)
        parts = make(model if form in plain.FILTERS else placed, images, form)
        calls |= {f"{form} {part}": call for part, call in parts.items()}
    figures = interleaved(calls, o.repetitions)
    result = {"figures": {name: asdict(figure) for name, figure in figures.items()}, "gflop": flops}
    if make is inference_calls:
        result["differences"] = differences(calls, o.worker)
    return {**result, "peak_mb": peak_memory_mb(), "threads": torch.get_num_threads()}


def count_flops(model: PSp, images: Tensor) -> dict[str, float]:
    """Count the GFLOP of one forward pass of each network."""
    counted = {}
    codes = model.latent_avg.expand(len(images), -1, -1)  # [N, num_ws, w_dim]
    with torch.device("meta"):
        ghost = copy.deepcopy(model).to("meta")
    for name, call in {
        "encoder": lambda: ghost.encode(images.to("meta")),
        "generator": lambda: plain.synthesis(ghost.generator, codes.to("meta")),
    }.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            call()
        counted[name] = counter.get_total_flops() / 1e9
    return counted


def differences(calls: Calls, forms: list[str]) -> dict[str, float]:
    """Return the mean difference of each form's images from those of the first form, in steps of 255."""
    rendered: dict[str, Any] = {form: calls[f"{form} generator"]() for form in forms}
    return {form: difference_8bit(rendered[form].float(), rendered[forms[0]].float()) for form in forms[1:]}


# ------------------------------------------------------------------------------- processes and the table


def spawn(o: Benchmark, case: str, malloc: str, forms: tuple[str, ...], repetitions: int) -> dict[str, Any]:
    """Call `measure_case` in a process of its own."""
    flags = ["--cases", case, "--malloc", malloc, "--repetitions", repetitions, "--batch", o.batch, "--worker", *forms]
    flags += ["--threads", o.threads] if o.threads else []
    return in_own_process(__file__, *flags)


def run_case(o: Benchmark, case: str, malloc: str) -> dict[str, Any]:
    """Measure all forms of a case with one malloc setting, and the peak memory of each form alone."""
    training = case.endswith("training")
    forms = FORMS["training" if training else "inference"]
    if training:  # one process cannot hold several models with their optimizers
        rounds = [spawn(o, case, malloc, (form,), max(1, o.repetitions // 2)) for _ in range(2) for form in forms]
        merged = {**rounds[0], "figures": merge([result["figures"] for result in rounds])}
        return {**merged, "peak_mb": {form: rounds[i]["peak_mb"] for i, form in enumerate(forms)}}
    result = spawn(o, case, malloc, forms, o.repetitions)
    return {**result, "peak_mb": {form: spawn(o, case, malloc, (form,), 1)["peak_mb"] for form in forms}}


def merge(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Merge the figures of several processes by their medians."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: _median([figures[name] for figures in rounds if name in figures]) for name in names}


def _median(figures: list[dict[str, Any]]) -> dict[str, Any]:
    loads = [figure["foreign"] for figure in figures if figure["foreign"] is not None]
    foreign = statistics.median(loads) if loads else None
    return asdict(
        Figure(
            statistics.median(figure["seconds"] for figure in figures),
            min(figure["fastest"] for figure in figures),
            foreign,
        )
    )


def table(case: str, malloc: str, result: dict[str, Any]) -> str:
    """Format the results of a case as a Markdown table with one row per part of each form.

    Shares of the peak are those of the fastest calls, which other processes affected least.
    """
    figures, gflop = result["figures"], result["gflop"]
    peaks = {name: PEAK_CALLS * PEAK_GFLOP / figure["fastest"] for name, figure in figures.items() if "peak" in name}
    rates = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in peaks.items())
    lines = [f"\n### {case}, malloc {malloc}, {result['threads']} threads; convolution {rates}\n"]
    lines += ["| form | part | ms (median) | ms (fastest) | share of the peak | foreign load |", "|---" * 6 + "|"]
    totals: dict[str, list[float]] = {}
    for name, figure in figures.items():
        form, part = name.split(" ", 1)
        if form == "peak":
            continue
        times = figure["seconds"], figure["fastest"]
        totals[form] = [sum(pair) for pair in zip(totals.get(form, (0.0, 0.0)), times, strict=True)]
        peak = peaks["peak bf16" if form == "bf16" else "peak fp32"]
        share = f"{gflop[part] / figure['fastest'] / peak:.0%}" if part in gflop else ""
        foreign = "unknown" if figure["foreign"] is None else f"{figure['foreign']:.0%}"
        lines.append(f"| {form} | {part} | {times[0] * 1000:.0f} | {times[1] * 1000:.0f} | {share} | {foreign} |")
    for form, total in totals.items():
        median, fastest = (reference / own for reference, own in zip(totals[REFERENCE], total, strict=True))
        ratio = f"{median:.2f}x (fastest {fastest:.2f}x) the speed of {REFERENCE}"
        memory = f"peak memory {result['peak_mb'][form] or 0:.0f} MB, own process"
        lines.append(f"| {form} | all | {total[0] * 1000:.0f} | {total[1] * 1000:.0f} | {ratio} | {memory} |")
    if apart := result.get("differences"):
        apart = ", ".join(f"{form} {value:.4f}" for form, value in apart.items())
        lines.append(f"\nMean difference of the renderings from the plain formula's, in steps of 255: {apart}.")
    return "\n".join(lines)


def main(o: Benchmark) -> None:
    if o.worker:
        print(json.dumps(measure_case(o, o.cases[0])))
        return
    results: dict[str, Any] = {}
    for case in o.cases:
        for malloc in o.malloc:
            results[f"{case} {malloc}"] = result = run_case(o, case, malloc)
            print(table(case, malloc, result), flush=True)
    write_figures(o.out, results)


if __name__ == "__main__":
    run(main, Benchmark)
