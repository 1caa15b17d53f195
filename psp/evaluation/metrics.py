"""Compute the metrics of an encoder's outputs, one value for each image."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.evaluation.ms_ssim import ms_ssim, ms_ssim_label
from psp.losses import LOSSES
from psp.perception.segmenter import Segmenter, load_segmenter, overlaps


class Metrics(nn.Module):
    """Compare outputs with their targets by frozen networks.

    Values of different networks must not be compared, so reports give the network with each number.

    Args:
        perceptual: Distance of two images, with an attribute `name`.
        identity: Distance of two faces, with an attribute `name`.
        segmenter: Finds the parts of a face in an output, where sources are one-hot label maps.
    """

    def __init__(self, perceptual: nn.Module, identity: nn.Module, segmenter: Segmenter | None = None) -> None:
        super().__init__()
        self.perceptual, self.identity, self.segmenter = perceptual, identity, segmenter
        self.networks = {"perceptual": str(perceptual.name), "identity": str(identity.name)}
        if segmenter is not None:
            self.networks["segmenter"] = segmenter.name
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def reconstruction(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compare images pixel by pixel, perceptually and by identity.

        Args:
            output: Images [N, 3, T, T], clamped to [-1, 1].
            target: Images [N, 3, T, T] in [-1, 1].

        Returns:
            {metric: [N]}. The mean squared error ("mse") is on the [-1, 1] scale. The perceptual distance is smaller
            where images are closer. The identity similarity is 1 for the same person.
        """
        output = output.clamp(-1, 1)
        return {
            "mse": (output - target).square().mean([1, 2, 3]),  # [N]
            "perceptual": self.perceptual(output, target),  # [N]
            "identity": 1 - self.identity(output, target),  # [N]
        }

    @torch.no_grad()
    def forward(self, output: Tensor, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute all metrics.

        Args:
            output: Images [N, 3, T, T], clamped to [-1, 1].
            source: Inputs of the encoder, [N, C, S, S], which are one-hot label maps if there is a segmenter.
            target: Images [N, 3, T, T] in [-1, 1].

        Returns:
            {metric: [N]}: the metrics of `reconstruction` and MS-SSIM. With a segmenter also "intersection" and "union"
            of
                each label [N, label_nc], in pixels, from which the mIoU is computed.
        """
        values = {**self.reconstruction(output, target), "ms_ssim": ms_ssim(output, target)}
        if self.segmenter is not None:
            found = self.segmenter.segment(output.clamp(-1, 1))  # [N, s, s]
            truth = label_ids(source, self.segmenter.resolution)  # [N, s, s]
            values["intersection"], values["union"] = overlaps(found, truth, self.segmenter.label_nc)
        return values

    def title(self, metric: str) -> str:
        """Return a metric with its network for a chart or a table, such as "perceptual (effnet)"."""
        return f"{metric} ({self.networks[metric]})" if metric in self.networks else metric

    def titles(self, size: int) -> dict[str, str]:
        """Return {metric: title in a table} for images of `size` pixels a side."""
        return {
            "mse": "mse",
            "perceptual": self.title("perceptual"),
            "identity": self.title("identity"),
            "ms_ssim": ms_ssim_label(size),
            **({"miou": f"mIoU ({self.segmenter.name})"} if self.segmenter is not None else {}),
            "seconds_per_image": "seconds per image",
        }


def build_metrics(segmenter: Segmenter | None = None, **networks: dict[str, object]) -> Metrics:
    """Build metrics with named networks: `perceptual={"network": NAME, "path": FILE}, id={...}`.

    The default network is `auto`: that of the paper if its file is found, else one that needs no download.
    """
    perceptual, identity = (LOSSES[name](**networks.get(name, {})) for name in ("perceptual", "id"))
    return Metrics(perceptual, identity, segmenter)


def pick_segmenter(path: str | None, label_nc: int) -> Segmenter | None:
    """Load a segmenter from a file, or the shipped one.

    Returns:
        The segmenter, or None, with a printed line, if its number of labels is not `label_nc`.
    """
    segmenter = load_segmenter(path) if path else load_segmenter()
    if segmenter.label_nc == label_nc:
        return segmenter
    print(f"{segmenter.name} knows {segmenter.label_nc} labels but the model {label_nc}, so mIoU is left out")
    return None


def label_ids(one_hot: Tensor, size: int) -> Tensor:
    """Turn label maps [N, label_nc, S, S] of 0 and 1 into ids int64 [N, size, size] by nearest neighbour."""
    ids = one_hot.argmax(1, keepdim=True).float()  # [N, 1, S, S]
    return F.interpolate(ids, (size, size), mode="nearest-exact")[:, 0].long()  # [N, size, size]
