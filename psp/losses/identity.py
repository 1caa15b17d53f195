"""Identity loss (L_ID of pSp, arXiv 2008.00951, Loss Functions): 1 - cosine of two face embeddings.

The paper's network is ArcFace, whose file is not free to ship; dlib's comes with an installed package. Values of
different networks are not comparable, so each is reported under its own name: id_arcface, id_dlib, id_facenet.
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from psp.losses.registry import register_loss
from psp.perception.arcface import ArcFace, load_arcface
from psp.perception.dlib_resnet import DlibResNet, load_dlib
from psp.perception.facenet import FaceNet, load_facenet
from psp.pretrained_files import PRETRAINED
from stylegan2.metrics.samples import as_rgb
from stylegan2.runtime.distributed import print_once
from stylegan2.runtime.errors import UserError

IdentityNetwork = ArcFace | DlibResNet | FaceNet
LOADERS = {"arcface": load_arcface, "dlib": load_dlib, "facenet": load_facenet}
MIN_SIDE = 64
"""Below this side, recognition degrades: with dlib, the rank-1 rate is 1.00 at 64 px and 0.86 at 32 px."""


def identity_network(network: str = "auto", path: str | Path | None = None) -> IdentityNetwork:
    """Load a frozen network with `embed(images) -> [N, D]` and `similarity(a, b) -> [N]`.

    Args:
        network: "arcface", "dlib" or "facenet"; "auto" takes arcface if its file is given or found, else dlib, and
            prints the choice.
        path: File of the weights.

    Raises:
        UserError: There is no such network, or its file is missing.
    """
    if network == "auto":
        network = "arcface" if PRETRAINED.find("arcface_ir_se50", path) else "dlib"
        because = "" if network == "arcface" else ", because no model_ir_se50.pth was given for arcface"
        print_once(f"identity network: {network}{because}")
    if network not in LOADERS:
        raise UserError(f"there is no identity network {network!r}; there are auto, {', '.join(LOADERS)}")
    return LOADERS[network](path)


@register_loss("id", {"network": "identity", "path": "identity_weights"})
class Identity(nn.Module):
    """1 - similarity of the faces in two FFHQ-aligned images.

    Args:
        network: arcface, dlib, facenet, or auto: arcface if its file is found, else dlib.
        path: File of the identity network's weights, such as model_ir_se50.pth.
    """

    inputs = ("output", "target")

    def __init__(self, network: str = "auto", path: Path | None = None) -> None:
        super().__init__()
        self.network = identity_network(network, path)
        self.name = f"id_{self.network.name}"
        self._warned = False

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the loss [N] of output and target, FFHQ-aligned [N, C, H, W] in [-1, 1], gray, RGB or RGBA."""
        output, target = as_rgb(output), as_rgb(target)  # [N, 3, H, W] each
        self._warn_small(min(target.shape[2:]))
        with torch.no_grad():
            wanted = self.network.embed(target)  # [N, D]
        return 1 - self.network.similarity(self.network.embed(output), wanted)  # [N]

    def _warn_small(self, side: int) -> None:
        if side < MIN_SIDE and not self._warned:
            self._warned = True
            warnings.warn(
                f"identity is measured on {side} px images, but people are recognised less well below {MIN_SIDE} px",
                stacklevel=3,
            )


class FaceSimilarity:
    """Measure whether two FFHQ-aligned images show the same person.

    Values of different networks must not be compared, so reports give the attribute `name` with them.

    Args:
        network: Name of the network, as in `identity_network`.
        device: Where the network runs.
    """

    def __init__(self, network: str, device: torch.device) -> None:
        self.identity, self.device = Identity(network).to(device), device
        self.name = self.identity.name

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare images [N, 1, 3 or 4, H, W] in [-1, 1]: [N], 1 for the same person."""
        return 1 - self.identity(as_rgb(a.to(self.device)), as_rgb(b.to(self.device)))  # [N]
