"""Read the tensors of one network from a file of another project, whatever they are wrapped in."""

import os

from torch import Tensor

from stylegan2.convert.envelope import unwrap
from stylegan2.convert.safe import read_torch
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import CheckpointError


def load_network_tensors(path: str | os.PathLike, *anchors: str) -> dict[str, Tensor]:
    """Read the tensors of a network, on the CPU, without executing anything in the file.

    Args:
        path: A file of `torch.save` or in the safetensors format, in which the network may have any prefix, such as
            `module.`, and lie in any dict, such as {"state_dict": tensors}.
        anchors: Names of tensors that identify the network; the first that is found decides.

    Returns:
        {name without the prefix: tensor}.

    Raises:
        CheckpointError: The file is damaged, or has no such tensor.
    """
    content = checkpoint.read_safetensors(path)[0] if checkpoint.is_safetensors(path) else read_torch(path)
    found = next(filter(None, (unwrap(content, anchor) for anchor in anchors)), None)
    if found is None:
        raise CheckpointError(f"{path} does not contain this network: it has no tensor called {' or '.join(anchors)}")
    return found[0].tensors
