"""How much the outputs for one source differ, where random styles fill some rows of w+ (`psp.mixing`)."""

from dataclasses import asdict
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from psp.evaluation.measuring import Measurement
from psp.evaluation.methods import Method
from psp.inference.translate import render
from psp.mixing import Mixing, Variants
from psp.model import PSp, fit
from stylegan2.runtime.errors import UserError


def diversity(model: PSp, row: Method, perceptual: nn.Module, mixing: Mixing) -> Measurement:
    """The mean perceptual distance between all pairs of a source's K outputs; pictures of the K side by side.

    Args:
        row: of the same model.
        perceptual: one value per sample, with an attribute `name`.
        mixing: its `outputs` are K, 2 or more.
    """
    if mixing.outputs < 2:
        raise UserError(f"diversity is measured among 2 outputs or more, not {mixing.outputs}")
    variants = Variants.draw(model.generator, mixing)

    def run(source: Tensor, target: Tensor, on_step: Any) -> tuple[dict[str, Tensor], Tensor]:
        codes = variants.of(model.encode(source))  # [N, K, num_ws, w_dim]
        images = render(model.generator, codes.flatten(0, 1)).to(target.device)  # [N * K, 3, R, R]
        images = fit(images, target.shape[-1]).unflatten(0, codes.shape[:2])  # [N, K, 3, T, T]
        return {"diversity": pairwise(images, perceptual)}, torch.cat(list(images.unbind(1)), dim=3)  # [N, 3, T, K * T]

    key = {"diversity": row.key, "perceptual": str(perceptual.name), "mixing": asdict(mixing)}
    return Measurement(f"{row.name}: {mixing.outputs} outputs", key, row.source_size, run)


@torch.no_grad()
def pairwise(images: Tensor, distance: nn.Module) -> Tensor:
    """Mean distance between all pairs of the K images of each sample: [N, K, 3, T, T] -> [N]."""
    pairs = combinations(range(images.shape[1]), 2)
    return torch.stack([distance(images[:, a], images[:, b]) for a, b in pairs]).mean(0)  # [N]
