"""What is measured of an output."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from psp.evaluation.metrics import Meters, measure, ms_ssim, ms_ssim_label
from psp.perception.segmenter import Segmenter, overlaps


class Gauge:
    """Metrics of outputs beside their targets; `labels` says what to call them.

    Args:
        meters: perceptual and identity network.
        size: side of outputs and targets.
        segmenter: finds the parts of an output again, where sources are one-hot label maps of its labels.
    """

    def __init__(self, meters: Meters, size: int, segmenter: Segmenter | None = None) -> None:
        self.meters, self.segmenter = meters, segmenter
        self.labels = {
            "mse": "mse",
            "perceptual": meters.label("perceptual"),
            "identity": meters.label("identity"),
            "ms_ssim": ms_ssim_label(size),
            **({"miou": f"mIoU ({segmenter.name})"} if segmenter else {}),
            "seconds_per_image": "seconds per image",
        }
        self.networks = {**meters.names, **({"segmenter": segmenter.name} if segmenter else {})}

    @torch.no_grad()
    def __call__(self, output: Tensor, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """output, target [N, 3, T, T] in [-1, 1] -> {metric: [N]}, and [N, label_nc] for the overlaps of labels."""
        values = {**measure(self.meters, output, target), "ms_ssim": ms_ssim(output, target)}
        if self.segmenter is not None:
            found = self.segmenter.segment(output.clamp(-1, 1))  # [N, s, s]
            truth = label_ids(source, self.segmenter.resolution)  # [N, s, s]
            values["intersection"], values["union"] = overlaps(found, truth, self.segmenter.label_nc)
        return values

    def key(self) -> dict[str, Any]:
        return dict(self.networks)


def label_ids(one_hot: Tensor, size: int) -> Tensor:
    """Label maps [N, label_nc, S, S] of 0 and 1 -> ids int64 [N, size, size], each that of the nearest pixel."""
    ids = one_hot.argmax(1, keepdim=True).float()  # [N, 1, S, S]
    return F.interpolate(ids, (size, size), mode="nearest-exact")[:, 0].long()  # [N, size, size]
