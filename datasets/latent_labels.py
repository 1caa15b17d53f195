"""Latents with labels: samples that a classifier of the procedural faces' truth looks at, or what a file says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datasets.attributes import attribute_classifier
from datasets.scores import read_scores
from stylegan2.latents.codes import load_codes
from stylegan2.latents.sampling import seeded_w
from stylegan2.runtime.errors import UserError


def truth_classifier(img_resolution: int, device: torch.device) -> Callable[[Tensor], dict[str, Tensor]]:
    """images [N, C, R, R] -> {attribute: logits [N]}: trained on procedural faces at the first call, and then kept."""
    network, _ = attribute_classifier(img_resolution, device=device)

    def classify(images: Tensor) -> dict[str, Tensor]:
        return dict(zip(network.names, network(images).unbind(1), strict=True))

    return classify


def labels_of_file(generator: Any, labels: Path, latents: Path | None) -> tuple[Tensor, dict[str, Tensor]]:
    """(w [N, w_dim], {attribute: [N]}) for the seeds of a CSV file, or for the names of codes in `latents`.

    Of a code with its own w for each layer the mean over the layers is taken.

    Raises:
        UserError: names without `latents`, or a name that is not in there.
    """
    found = read_scores(labels)
    if found.key == "seed":
        w = torch.cat([seeded_w(generator, [int(seed)])[:, 0] for seed in found.keys])  # [N, w_dim]
        return w, {name: values.to(w.device) for name, values in found.values.items()}
    if latents is None:
        raise UserError(f"{str(labels)!r} labels codes by their names: give the file they are in with --latents")
    names, w_plus = load_codes(latents, generator.num_ws, generator.w_dim)
    if missing := [key for key in found.keys if key not in names]:
        raise UserError(f"{str(latents)!r} has no codes of {len(missing)} labelled names, such as {missing[0]!r}")
    w = w_plus[[names.index(key) for key in found.keys]].mean(1).to(generator.w_avg.device)  # [N, w_dim]
    return w, {name: values.to(w.device) for name, values in found.values.items()}
