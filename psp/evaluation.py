"""Ways to invert an image, measured on the same images: quality under each network's name, and seconds per image."""

import time
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from psp.losses import WeightedLosses
from psp.metrics import Meters, measure
from psp.model import PSp
from psp.optimize import optimize_w_plus
from stylegan2.runtime.stats import Averages

Method = Callable[[Tensor], Tensor]  # target [N, 3, T, T] -> output [N, 3, T, T]


def mean_face(model: PSp) -> Method:
    """The rendering of the latent average, whatever the image: the floor."""

    def render(target: Tensor) -> Tensor:
        output = model.decode(model.latent_avg[None])  # [1, 3, R, R]
        return F.adaptive_avg_pool2d(output, target.shape[-1]).expand(len(target), -1, -1, -1)  # [N, 3, T, T]

    return render


def encode_and_render(model: PSp) -> Method:
    """One pass through encoder and generator."""
    size = model.encoder.input_size

    def render(target: Tensor) -> Tensor:
        source = F.interpolate(target, (size, size), mode="bilinear", antialias=True, align_corners=False)
        return F.adaptive_avg_pool2d(model(source), target.shape[-1])  # [N, 3, T, T]

    return render


def optimise(model: PSp, losses: WeightedLosses, steps: int) -> Method:
    """W+ optimisation from the latent average: slow, and about the best that the generator can do."""

    def render(target: Tensor) -> Tensor:
        with torch.enable_grad():
            w_plus = optimize_w_plus(model.generator, target, losses, model.latent_avg, steps)  # [N, num_ws, w_dim]
        return F.adaptive_avg_pool2d(model.decode(w_plus), target.shape[-1])  # [N, 3, T, T]

    return render


@torch.no_grad()
def evaluate(
    method: Method, batches: Iterable[Tensor], meters: Meters, keep: int = 0
) -> tuple[dict[str, float], Tensor]:
    """Means over all images of every metric and of the seconds per image; and the first `keep` outputs.

    batches: targets [N, 3, T, T] in [-1, 1].
    """
    averages, kept, seconds, count = Averages(), [], 0.0, 0
    for target in batches:
        started = time.perf_counter()
        output = method(target)
        _synchronize(output.device)
        seconds += time.perf_counter() - started
        for name, value in measure(meters, output, target).items():
            averages.add(name, value)
        if count < keep:
            kept.append(output[: keep - count].detach().cpu())
        count += len(target)
    return {**averages.pop(), "seconds_per_image": seconds / count}, torch.cat(kept) if kept else torch.empty(0)


def table(results: dict[str, dict[str, float]], meters: Meters) -> str:
    """A Markdown table, one method a row."""
    metrics = list(next(iter(results.values())))
    lines = ["| method | " + " | ".join(meters.label(m.replace("_", " ")) for m in metrics) + " |"]
    lines.append("|---" * (len(metrics) + 1) + "|")
    for name, values in results.items():
        lines.append(f"| {name} | " + " | ".join(f"{values[m]:.4f}" for m in metrics) + " |")
    return "\n".join(lines) + "\n"


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
