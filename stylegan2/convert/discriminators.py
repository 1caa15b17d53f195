"""Read the discriminators of rosinality's and NVIDIA's trainings under our names.

Their networks compute the same as ours, tensor for tensor; only the names differ. rosinality numbers the blocks from
the image on, as we do, while NVIDIA names them by their resolution.
"""

import re
from collections.abc import Callable, Sequence

from torch import Tensor

from stylegan2.convert import envelope, layout
from stylegan2.convert.nvidia import flatten
from stylegan2.convert.safe import StoredModule

ROSINALITY = "final_linear.1.weight"  # every discriminator of that project has it, and no other network
NVIDIA = "b4.out.weight"
OTHERS = re.compile(r"(?:.*\.)?D\.(?P<name>blocks\..*)")  # lucidrains, whose blocks have another architecture
FILTERS = (".kernel", "resample_filter")
ROSINALITY_NAMES = (
    (r"convs\.0\.0\.weight", "from_rgbs.0.weight"),
    (r"convs\.0\.1\.bias", "from_rgbs.0.bias"),
    (r"convs\.(\d+)\.conv1\.[01]\.(weight|bias)", "blocks.{}.conv0.{}"),
    (r"convs\.(\d+)\.conv2\.[12]\.(weight|bias)", "blocks.{}.conv1.{}"),
    (r"convs\.(\d+)\.skip\.1\.weight", "blocks.{}.skip.weight"),
    (r"final_conv\.[01]\.(weight|bias)", "conv.{}"),
    (r"final_linear\.0\.(weight|bias)", "fc.{}"),
    (r"final_linear\.1\.(weight|bias)", "out.{}"),
)
NVIDIA_NAMES = (
    (r"b(\d+)\.fromrgb\.(weight|bias)", "from_rgbs.{}.{}"),
    (r"b(\d+)\.(conv[01]|skip)\.(weight|bias)", "blocks.{}.{}.{}"),
    (r"b4\.(conv|fc|out)\.(weight|bias)", "{}.{}"),
    (r"mapping\.embed\.(weight|bias)", "projection.embedding.linear.{}"),
    (r"mapping\.fc(\d+)\.(weight|bias)", "projection.layers.{}.{}"),
)


def extract(content: object) -> dict[str, Tensor]:
    """Find the discriminator in a file, and rename the layers that ours has too.

    Args:
        content: The content of the file, as `read_torch`, `read_persistence_pickle` or `read_safetensors` returns it.

    Returns:
        The tensors in float32; empty where the file holds no discriminator.

    Raises:
        CheckpointError: The resampling filter differs from ours.
    """
    if isinstance(content, dict) and isinstance(content.get("D"), StoredModule):
        return _of_nvidia(flatten(content["D"])[0])
    for anchor, renamed in ((ROSINALITY, _of_rosinality), (NVIDIA, _of_nvidia)):
        if networks := envelope.unwrap(content, anchor):
            return renamed(networks[0].tensors)
    state = content.get("GAN", content) if isinstance(content, dict) else {}
    named = {name: envelope.as_tensor(value) for name, value in state.items() if isinstance(name, str)}
    return {
        match["name"]: tensor
        for name, tensor in named.items()
        if tensor is not None and (match := OTHERS.fullmatch(name))
    }


def _of_rosinality(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return _renamed(state, ROSINALITY_NAMES, lambda number: number - 1)


def _of_nvidia(state: dict[str, Tensor]) -> dict[str, Tensor]:
    largest = max(layout.numbers(state, r"b(\d+)\."), default=4)
    return _renamed(state, NVIDIA_NAMES, lambda size: largest.bit_length() - size.bit_length())


def _renamed(
    state: dict[str, Tensor], names: Sequence[tuple[str, str]], place: Callable[[int], int]
) -> dict[str, Tensor]:
    """Give tensors our names; unknown tensors keep theirs, and filters, which are not weights, are left out.

    Args:
        state: The tensors by name, without a prefix.
        names: (pattern of a name, our name with braces for the groups of the pattern).
        place: Maps the number of a block to ours; the layers of NVIDIA's mapping of labels keep their numbers.
    """
    filters = [name for name in state if name.endswith(FILTERS)]
    layout.check_filters(state, filters, gain=1.0)
    result = {}
    for name, tensor in state.items():
        if name in filters:
            continue
        ours, renumber = name, int if name.startswith("mapping.") else place
        for pattern, called in names:
            if match := re.fullmatch(pattern, name):
                ours = called.format(*(renumber(int(g)) if g.isdecimal() else g for g in match.groups()))
        result[ours] = tensor.float()
    return result
