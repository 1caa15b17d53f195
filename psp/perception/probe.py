"""A linear probe for binary attributes on frozen features, for a few hundred labelled photographs.

A network that is trained from scratch on so few images overfits. EfficientNet-Lite0 was trained on a million images,
and its features, averaged over a coarse grid, separate glasses, beards, hair and age linearly.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.perception.crop import WHOLE, crop_resize
from psp.perception.efficientnet_lite0 import load_efficientnet_lite0
from stylegan2.metrics.samples import as_rgb, batches

SIDE = 128  # px, side of the network's input: an enlarged 64 px face has feature maps of twice the resolution
GRID = 4  # cells per side over which the middle feature maps are averaged
MAPS = slice(1, 3)  # feature maps of the pyramid that are used: those of 16 and 8 px
PENALTY = 0.3  # weight of the squared weights of standardised features, by cross-validation on 700 portraits
ITERATIONS = 60
AT_ONCE = 64


class AttributeProbe(nn.Module):
    """A classifier from images to one logit for each attribute, which is positive where the attribute is present.

    Args:
        names: Names of the A attributes.
        side: Side, in pixels, of the images to which the probe is fitted. All images are resized to it first.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, names: Sequence[str], side: int = 64) -> None:
        super().__init__()
        self.names, self.side = tuple(names), side
        self.config = {"names": list(names), "side": side}
        self.network = [load_efficientnet_lite0()]  # in a list, so that its weights are not saved with the probe
        features = 112 * GRID**2 + 40 * GRID**2 + 1280
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("weight", torch.zeros(features, len(names)))
        self.register_buffer("bias", torch.zeros(len(names)))

    def features(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1], with C = 1, 3 or 4, to features [N, 3712], which are not standardised."""
        network = self.network[0].to(images.device)
        x = crop_resize(as_rgb(images), WHOLE, self.side, self.side)  # [N, 3, side, side]
        x = crop_resize(x, WHOLE, SIDE, SIDE)  # [N, 3, 128, 128]
        maps = [F.adaptive_avg_pool2d(m, GRID).flatten(1) for m in network.pyramid(x)[MAPS]]  # [N, C GRID^2] each
        return torch.cat([*maps, network.pooled(x)], dim=1)  # [N, 3712]

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1], with C = 1, 3 or 4, to logits [N, A]."""
        return (self.features(images) - self.mean) / self.scale @ self.weight + self.bias  # [N, A]

    def by_name(self, images: Tensor) -> dict[str, Tensor]:
        """Map images [N, C, H, W] in [-1, 1], with C = 1, 3 or 4, to {attribute: logits [N]}."""
        return dict(zip(self.names, self(images).unbind(1), strict=True))


@torch.no_grad()
def fit_probe(probe: AttributeProbe, images: Tensor, labels: Tensor) -> None:
    """Fit a probe by logistic regression with an L2 penalty on the weights.

    For each attribute, the images that have it and those that do not have the same total weight.

    Args:
        probe: The probe of A attributes that is fitted.
        images: uint8 [N, C, H, W]. The mirrored images are used as well.
        labels: [N, A]: 1 where an attribute is present, 0 where it is absent, NaN where this is not known. For mirrored
            images, the labels of the attributes in `MIRRORED` are inverted.
    """
    device = probe.mean.device
    features = []
    for flip in (False, True):
        for part in batches(len(images), AT_ONCE, "features of labelled images"):
            pixels = images[part].to(device).float() / 127.5 - 1  # [n, C, H, W]
            features.append(probe.features(pixels.flip(3) if flip else pixels))
    x = torch.cat(features)  # [2 N, F]
    y = torch.cat([labels, mirrored(probe.names, labels)]).to(device)  # [2 N, A]
    probe.mean.copy_(x.mean(0))
    probe.scale.copy_(x.std(0).clamp_min(1e-6))
    x = (x - probe.mean) / probe.scale
    for k in range(len(probe.names)):
        known = ~y[:, k].isnan()
        probe.weight[:, k], probe.bias[k] = _plane(x[known], y[known, k])


MIRRORED = ("yaw",)
"""attributes that mirroring an image turns into their opposite"""


def mirrored(names: Sequence[str], labels: Tensor) -> Tensor:
    """Convert the labels [N, A] of images to those of the mirrored images."""
    turned = torch.tensor([name in MIRRORED for name in names])  # [A]
    return torch.where(turned, 1 - labels.float(), labels.float())


@torch.enable_grad()
def _plane(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the weight [F] and bias [] of the logistic regression of y [N] on x [N, F]."""
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
