"""ArcFace on an IR-SE50 (arXiv 1801.07698), the identity network of the pSp paper, from a file of the user."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.encoders.irse import IRSE
from psp.perception.crop import FACE, crop_resize
from psp.pretrained_files import PRETRAINED
from stylegan2.convert.envelope import load_network_tensors
from stylegan2.runtime import weights

IMAGE_SIZE = 112
EMBEDDING = 512


class ArcFace(nn.Module):
    """A network from aligned faces to unit-length embeddings. The parameters have the names of model_ir_se50.pth."""

    name = "arcface"

    def __init__(self) -> None:
        super().__init__()
        trunk = IRSE(depth=50)
        self.input_layer, self.body = trunk.input_layer, trunk.body
        channels, side = trunk.widths[-1], IMAGE_SIZE >> len(trunk.widths)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(channels * side * side, EMBEDDING),
            nn.BatchNorm1d(EMBEDDING),
        )

    def forward(self, chips: Tensor) -> Tensor:
        """Map RGB face chips [N, 3, 112, 112] in [-1, 1] to embeddings [N, 512] of unit length."""
        x = self.input_layer(chips.contiguous(memory_format=torch.channels_last))  # [N, 64, 112, 112]
        x = self.body(x)  # [N, 512, 7, 7]
        return F.normalize(self.output_layer(x))  # [N, 512]

    def embed(self, images: Tensor) -> Tensor:
        """Map FFHQ-aligned RGB images [N, 3, H, W] in [-1, 1] to embeddings [N, 512] of unit length."""
        return self(crop_resize(images, FACE, IMAGE_SIZE, IMAGE_SIZE))  # [N, 512]

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the cosine similarity [N] of two batches of embeddings [N, 512]."""
        return F.cosine_similarity(a, b)  # [N]


def load_arcface(path: str | Path | None = None) -> ArcFace:
    """Load the frozen network with the weights of a model_ir_se50.pth.

    Args:
        path: The file. It is needed only if PSP_WEIGHTS does not name a folder that contains the file.

    Raises:
        UserError: There is no such file.
        CheckpointError: The file is damaged or holds something else.
    """
    path = PRETRAINED.locate("arcface_ir_se50", path)
    network = ArcFace()
    weights.fill(network, load_network_tensors(path, "input_layer.0.weight"), path)
    return weights.freeze(network, channels_last=True)
