"""FaceNet (arXiv 1503.03832) with an Inception-ResNet v1 trained on VGGFace2, from the package facenet-pytorch."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from psp.perception.crop import Box, crop_resize
from psp.pretrained_files import PRETRAINED
from stylegan2.convert.envelope import load_network_tensors
from stylegan2.runtime import weights

IMAGE_SIZE = 160
CHIP: Box = (45.5 / 256, 56.6 / 256, 189.9 / 256, 141.0 / 256)
"""average position (over 67 images) of the face in an FFHQ-aligned image, as found by the package's MTCNN, with which
the training images were cropped"""


class FaceNet(nn.Module):
    """A network from aligned faces to unit-length embeddings [N, 512]."""

    name = "facenet"

    def __init__(self) -> None:
        super().__init__()
        from facenet_pytorch import InceptionResnetV1  # here, because the package also imports its detectors

        self.network = InceptionResnetV1(pretrained=None)

    def embed(self, images: Tensor) -> Tensor:
        """Map FFHQ-aligned RGB images [N, 3, H, W] in [-1, 1] to embeddings [N, 512] of unit length."""
        chips = crop_resize(images, CHIP, IMAGE_SIZE, IMAGE_SIZE)  # [N, 3, 160, 160]
        chips = chips * (127.5 / 128)  # as in the package: pixels from 0 to 255, minus 127.5, divided by 128
        return self.network(chips.contiguous(memory_format=torch.channels_last))  # [N, 512]

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the cosine similarity [N] of two batches of embeddings [N, 512]."""
        return F.cosine_similarity(a, b)  # [N]


def load_facenet(path: str | Path | None = None) -> FaceNet:
    """Load the frozen network with the weights that facenet-pytorch publishes.

    Args:
        path: The file of the weights, if it is not in the cache of torch.

    Raises:
        UserError: There is no such file.
        CheckpointError: The file is damaged or holds something else.
    """
    path = PRETRAINED.locate("facenet_vggface2", path)
    network = FaceNet()
    classifier = ("logits.weight", "logits.bias")  # the classes are the 8631 people of the training set
    stored = load_network_tensors(path, "conv2d_1a.conv.weight")
    tensors = {key: value for key, value in stored.items() if key not in classifier}
    weights.fill(network.network, tensors, path)
    return weights.freeze(network, channels_last=True)
