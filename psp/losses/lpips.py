"""Perceptual losses: LPIPS (arXiv 1801.03924, eq. 1), as in the pSp paper, or a distance on EfficientNet-Lite0.

The linear heads of LPIPS come with the package lpips; the backbone is torchvision's, and its file must be on the
machine. LPIPS on a random backbone is hardly better than the squared difference, so it never runs with one here.

The distance on EfficientNet-Lite0 is for machines without such a file. It has the form of LPIPS: squared differences of
features that are normalised to unit length over the channels. No human ratings were fitted, so that it is not LPIPS,
and its numbers are reported as `effnet`.
"""

import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.losses.l2 import FaceCrop
from psp.losses.registry import register_loss
from psp.perception.crop import WHOLE, crop_resize
from psp.perception.efficientnet_lite0 import STRIDE, load_efficientnet_lite0
from psp.pretrained_files import PRETRAINED
from stylegan2.convert.envelope import load_network_tensors
from stylegan2.metrics.samples import as_rgb
from stylegan2.runtime import weights
from stylegan2.runtime.distributed import print_once
from stylegan2.runtime.errors import UserError

TAPS = {0: 0.02, 1: 0.03, 3: 0.05, 5: 0.1, 11: 0.15, 16: 0.15}
"""Weights of the stem (0) and of blocks 0, 2, 4, 10 and 15 (1 + block).

They were judged by 13 orderings that a viewer would give (a shift by 2 px is closer than a blur of sigma 2, ...; 16
portraits at 128 px). The stem alone is right in 0.67 of the cases, the blocks in 0.65, 0.82, 0.99, 1.00 and 1.00, all
six with equal weights in 0.92, and with these weights in 0.99. The early maps keep a small weight, because their
gradient restores fine detail. The sum makes values as large as those of LPIPS: 0.25 for the blur, 0.55 between two
portraits.
"""
MIN_SIDE = 64
"""A smaller image is enlarged. 64 px images are not: at 128 px the network takes three times as long, and is no better
at the orderings above or at telling a smile from another person."""
BACKBONES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
"""{name of a backbone in LPIPS: name of its file in the table of pretrained files}"""
NETWORKS = ("auto", *BACKBONES, "effnet")
NETWORK_SETTINGS = {"network": "perceptual", "path": "perceptual_weights"}
"""both perceptual losses use the same network"""


class EffNet(nn.Module):
    """Distance of two images in the features of EfficientNet-Lite0."""

    name = "effnet"
    inputs = ("output", "target")

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__()
        self.network = load_efficientnet_lite0(path)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the loss [N] of output and target, [N, C, H, W] in [-1, 1], gray, RGB or RGBA."""
        output, target = as_rgb(output), as_rgb(target)  # [N, 3, H, W] each
        with torch.no_grad():
            wanted = self._features(target)
        distances = [
            weight * (a - b).square().sum(1).mean([1, 2])  # [N]
            for weight, a, b in zip(TAPS.values(), self._features(output), wanted, strict=True)
        ]
        return torch.stack(distances).sum(0)  # [N]

    def _features(self, images: Tensor) -> list[Tensor]:
        height, width = (max(MIN_SIDE, -(-side // STRIDE) * STRIDE) for side in images.shape[2:])
        maps = self.network.features(crop_resize(images, WHOLE, height, width))
        return [F.normalize(maps[tap], dim=1) for tap in TAPS]


class LPIPS(nn.Module):
    """LPIPS version 0.1 on AlexNet ("alex", as in the paper), VGG-16 ("vgg") or SqueezeNet 1.1 ("squeeze").

    Args:
        network: "alex", "vgg" or "squeeze".
        path: The torchvision file of the backbone, if it is not in torchvision's own cache.

    Raises:
        UserError: The file is not on this machine, or there is no such network.
        CheckpointError: The file is damaged or belongs to another network.
    """

    inputs = ("output", "target")

    def __init__(self, network: str = "alex", path: str | Path | None = None) -> None:
        super().__init__()
        if network not in BACKBONES:
            raise UserError(f"LPIPS has no network {network!r}; there are {', '.join(BACKBONES)}")
        path = PRETRAINED.locate(BACKBONES[network], path)
        self.name = f"lpips_{network}"
        self.distance = weights.freeze(_assemble(network, path), channels_last=True)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the loss [N] of output and target, [N, C, H, W] in [-1, 1], gray, RGB or RGBA."""
        output, target = as_rgb(output), as_rgb(target)  # [N, 3, H, W] each
        return self.distance(output, target.detach()).flatten()  # [N]


def _assemble(network: str, path: Path) -> nn.Module:
    """Build the network of the package with the weights in `path`, without a download."""
    import lpips  # imported here, because it imports all of torchvision

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips uses the deprecated argument `pretrained` of torchvision
        distance = lpips.LPIPS(net=network, pnet_rand=True, verbose=False)
    features = {
        key.removeprefix("features."): value
        for key, value in load_network_tensors(path, "features.0.weight").items()
        if key.startswith("features.")
    }
    # The parameters are called sliceK.LAYER.REST, where LAYER.REST is the name in torchvision.
    ours = {key.split(".", 1)[1]: key for key in distance.net.state_dict()}
    weights.fill(distance.net, {ours.get(key, key): value for key, value in features.items()}, path)
    return distance


@register_loss("perceptual", {"lambda": "lpips_lambda", **NETWORK_SETTINGS})
def build_perceptual(network: str = "auto", path: Path | None = None) -> nn.Module:
    """Build a perceptual distance of two images: LPIPS, or a distance in the features of EfficientNet-Lite0.

    The attribute `name` of the loss (lpips_alex, effnet, ...) must be reported with its numbers.

    Args:
        network: alex, vgg or squeeze (LPIPS), effnet, or auto: alex where its file is, else effnet.
        path: File of the perceptual network's weights.
    """
    if network not in NETWORKS:
        raise UserError(f"there is no perceptual network {network!r}; there are {', '.join(NETWORKS)}")
    if network == "auto":
        network = "alex" if PRETRAINED.find("alexnet", path) else "effnet"
        because = "" if network == "alex" else ", because the AlexNet file of LPIPS is not on this machine"
        print_once(f"perceptual network: {network}{because}")
    return EffNet(path) if network == "effnet" else LPIPS(network, path)


def perceptual_loss(network: str = "auto", path: Path | None = None) -> tuple[str, nn.Module]:
    """Return (name, loss) of `build_perceptual`: the name under which its numbers must be reported."""
    loss = build_perceptual(network, path)
    return str(loss.name), loss


@register_loss("perceptual_crop", {"lambda": "lpips_lambda_crop", **NETWORK_SETTINGS})
def perceptual_crop(network: str = "auto", path: Path | None = None) -> FaceCrop:
    """Build the perceptual distance on the face region only, for frontalization.

    Args:
        network: The network, as in `build_perceptual`.
        path: File of the perceptual network's weights.
    """
    return FaceCrop(build_perceptual(network, path))
