"""A linear probe of binary attributes on frozen features, for labels of a few hundred photographs.

A network trained from so few images learns them by heart. EfficientNet-Lite0 has seen a million, and what it sees of a
face, coarsely where, separates glasses, beards, hair and age by a plane.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.perception.crop import WHOLE, crop_resize
from psp.perception.efficientnet_lite0 import load_efficientnet_lite0
from stylegan2.metrics.samples import as_rgb, batches

SIDE = 128  # pixels that the features are taken at: a 64 px face enlarged has twice as many places to look at
GRID = 4  # cells a side over which the middle maps are averaged
MAPS = slice(1, 3)  # of the pyramid: 16 and 8 px
PENALTY = 0.3  # on the squared weights of standardised features, chosen by cross-validation on 700 portraits
ITERATIONS = 60
AT_ONCE = 64


class AttributeProbe(nn.Module):
    """Images to one logit for each attribute, positive where it is there.

    Args:
        names: What the A attributes are called.
        side: Side of the images that it was fitted to, in pixels; others are resized to it first.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, names: Sequence[str], side: int = 64) -> None:
        super().__init__()
        self.names, self.side = tuple(names), side
        self.config = {"names": list(names), "side": side}
        self.network = [load_efficientnet_lite0()]  # in a list, since its weights are not the probe's to save
        features = 112 * GRID**2 + 40 * GRID**2 + 1280
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("weight", torch.zeros(features, len(names)))
        self.register_buffer("bias", torch.zeros(len(names)))

    def features(self, images: Tensor) -> Tensor:
        """Describe images [N, 1, 3 or 4, H, W] in [-1, 1] by features [N, 3712], not yet standardised."""
        network = self.network[0].to(images.device)
        x = crop_resize(as_rgb(images), WHOLE, self.side, self.side)  # [N, 3, side, side]
        x = crop_resize(x, WHOLE, SIDE, SIDE)  # [N, 3, 128, 128]
        maps = [F.adaptive_avg_pool2d(m, GRID).flatten(1) for m in network.pyramid(x)[MAPS]]  # [N, C GRID^2] each
        return torch.cat([*maps, network.pooled(x)], dim=1)  # [N, 3712]

    def forward(self, images: Tensor) -> Tensor:
        """images [N, 1, 3 or 4, H, W] in [-1, 1] -> logits [N, A]."""
        return (self.features(images) - self.mean) / self.scale @ self.weight + self.bias  # [N, A]

    def by_name(self, images: Tensor) -> dict[str, Tensor]:
        """Classify images [N, C, H, W] in [-1, 1]: {attribute: logits [N]}."""
        return dict(zip(self.names, self(images).unbind(1), strict=True))


@torch.no_grad()
def fit_probe(probe: AttributeProbe, images: Tensor, labels: Tensor) -> None:
    """Fit the planes by logistic regression with a penalty on the weights, both sides of a label counting the same.

    Args:
        probe: Of A attributes.
        images: uint8 [N, C, H, W]; their mirror images are learned from too.
        labels: [N, A], 1 where the attribute is there, 0 where it is not, NaN where nobody said. A left and a right
            (`yaw`, say) is told from the mirrored half by its name alone: see `MIRRORED`.
    """
    device = probe.mean.device
    found = []
    for flip in (False, True):
        for part in batches(len(images), AT_ONCE, "features of labelled images"):
            pixels = images[part].to(device).float() / 127.5 - 1  # [n, C, H, W]
            found.append(probe.features(pixels.flip(3) if flip else pixels))
    x = torch.cat(found)  # [2 N, F]
    y = torch.cat([labels, mirrored(probe.names, labels)]).to(device)  # [2 N, A]
    probe.mean.copy_(x.mean(0))
    probe.scale.copy_(x.std(0).clamp_min(1e-6))
    x = (x - probe.mean) / probe.scale
    for k in range(len(probe.names)):
        known = ~y[:, k].isnan()
        probe.weight[:, k], probe.bias[k] = _plane(x[known], y[known, k])


MIRRORED = ("yaw",)
"""Attributes that a mirror turns into their opposite."""


def mirrored(names: Sequence[str], labels: Tensor) -> Tensor:
    """Return the labels [N, A] of the mirror images."""
    turned = torch.tensor([name in MIRRORED for name in names])  # [A]
    return torch.where(turned, 1 - labels.float(), labels.float())


@torch.enable_grad()
def _plane(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight [F] and bias [] of the logistic regression of y [N] on x [N, F]."""
    weight = x.new_zeros(x.shape[1], requires_grad=True)  # [F]
    bias = x.new_zeros((), requires_grad=True)
    positive = y.mean().clamp(1e-3, 1 - 1e-3)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = x @ weight + bias  # [N]
        loss = F.binary_cross_entropy_with_logits(logits, y, pos_weight=(1 - positive) / positive)
        loss = loss + PENALTY * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()
