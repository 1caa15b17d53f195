"""ArcFace on an IR-SE50 (arXiv 1801.07698), the identity network of the pSp paper, from a file that the user has."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.encoders.irse import IRSE
from psp.perception.crop import FACE, crop_resize
from psp.pretrained_files import PRETRAINED
from stylegan2.runtime import weights

IMAGE_SIZE = 112
EMBEDDING = 512


class ArcFace(nn.Module):
    """Aligned faces to unit-length embeddings. The parameters have the names of model_ir_se50.pth."""

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
        """chips [N, 3, 112, 112] RGB in [-1, 1] -> [N, 512] of unit length."""
        x = self.input_layer(chips.contiguous(memory_format=torch.channels_last))  # [N, 64, 112, 112]
        x = self.body(x)  # [N, 512, 7, 7]
        return F.normalize(self.output_layer(x))  # [N, 512]

    def embed(self, images: Tensor) -> Tensor:
        """images [N, 3, H, W] RGB in [-1, 1], FFHQ-aligned -> [N, 512]."""
        return self(crop_resize(images, FACE, IMAGE_SIZE, IMAGE_SIZE))

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Cosine of two embeddings [N, 512] -> [N]."""
        return F.cosine_similarity(a, b)  # [N]


def load_arcface(path: str | Path | None = None) -> ArcFace:
    """Return the frozen network with the weights of a model_ir_se50.pth.

    Args:
        path: The file, where PSP_WEIGHTS names no folder that has it.

    Raises:
        UserError: There is no such file.
        CheckpointError: The file is damaged or holds something else.
    """
    path = PRETRAINED.locate("arcface_ir_se50", path)
    network = ArcFace()
    weights.fill(network, weights.load_tensors(path), path)
    return weights.freeze(network, channels_last=True)
