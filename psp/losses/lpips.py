"""LPIPS (arXiv 1801.03924, eq. 1), the perceptual loss of the pSp paper, with the package lpips.

The linear heads come with the package; the backbone is torchvision's, and its file must be on the machine. LPIPS on a
random backbone is hardly better than the squared difference, so it never runs with one here.
"""

import warnings
from pathlib import Path

from torch import Tensor, nn

from psp.losses.effnet import EffNet
from psp.losses.face_crop import FaceCrop
from psp.losses.registry import register_loss
from psp.pretrained_files import PRETRAINED
from stylegan2.convert.envelope import load_network_tensors
from stylegan2.metrics.samples import as_rgb
from stylegan2.runtime import weights
from stylegan2.runtime.distributed import print_once
from stylegan2.runtime.errors import UserError

BACKBONES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
"""{name of a backbone in LPIPS: name of its file in the table of pretrained files}"""
NETWORKS = ("auto", *BACKBONES, "effnet")
NETWORK_SETTINGS = {"network": "perceptual", "path": "perceptual_weights"}
"""both perceptual losses use the same network"""


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
