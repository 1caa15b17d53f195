"""MoCo similarity loss (e4e, arXiv 2102.02766), which replaces the identity loss in domains other than faces.

It is 1 - cosine of the pooled features of a ResNet-50 that MoCo v2 (arXiv 2003.04297) trained without labels. The input
is 224 px with ImageNet's mean and deviation, as in its training; the published loss omits the normalization.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.losses.registry import register_loss
from psp.perception.crop import WHOLE, crop_resize
from psp.pretrained_files import PRETRAINED
from stylegan2.convert.envelope import load_network_tensors
from stylegan2.metrics.samples import as_rgb
from stylegan2.runtime import weights
from stylegan2.runtime.errors import CheckpointError

IMAGE_SIZE = 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # statistics of ImageNet, for images in [0, 1]
PREFIX, STEM, HEAD = "encoder_q.", "conv1.weight", "fc."
CLASSIFIER = "fc.weight"  # the last layer of torchvision's ResNet; the head of MoCo v2 is fc.0 and fc.2


@register_loss("moco", {"path": "moco_weights"})
class MoCo(nn.Module):
    """1 - similarity of two images in the features of MoCo's ResNet-50, for data without faces in place of id.

    Args:
        path: File of MoCo's weights, such as moco_v2_800ep_pretrain.pth.tar.

    Raises:
        UserError: There is no such file.
        CheckpointError: The file is damaged or holds something else.
    """

    name = "moco"
    inputs = ("output", "target")
    mean: Tensor
    deviation: Tensor

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        file = PRETRAINED.locate("moco_v2", path)
        from torchvision.models import resnet50  # here, because it imports all of torchvision

        network = resnet50(weights=None)
        network.add_module("fc", nn.Identity())
        weights.fill(network, query_encoder(file), file)
        self.network = weights.freeze(network, channels_last=True)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Compute the loss [N] of output and target, [N, C, H, W] in [-1, 1], gray, RGB or RGBA."""
        output, target = as_rgb(output), as_rgb(target)  # [N, 3, H, W] each
        with torch.no_grad():
            wanted = self.embed(target)  # [N, 2048]
        return 1 - F.cosine_similarity(self.embed(output), wanted)  # [N]

    def embed(self, images: Tensor) -> Tensor:
        """Return the pooled features [N, 2048] of images [N, 3, H, W] in [-1, 1]."""
        images = crop_resize(images, WHOLE, IMAGE_SIZE, IMAGE_SIZE)  # [N, 3, 224, 224]
        images = ((images + 1) / 2 - self.mean) / self.deviation
        return self.network(images.contiguous(memory_format=torch.channels_last))


def query_encoder(path: Path) -> dict[str, Tensor]:
    """Read the query encoder's tensors under torchvision's names, without the head that only MoCo's training uses.

    Raises:
        CheckpointError: The file is damaged, or holds neither MoCo's training nor its encoder alone.
    """
    state = load_network_tensors(path, PREFIX + STEM, STEM)
    if PREFIX + STEM in state:
        state = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    elif CLASSIFIER in state:
        raise CheckpointError(f"{path} is not a MoCo file, but a classifier: it has a tensor called {CLASSIFIER}")
    return {key: value for key, value in state.items() if not key.startswith(HEAD)}
