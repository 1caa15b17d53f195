"""Measure how much each resolution contributes to the image (StyleGAN2, arXiv 1912.04958, section 4.2, figure 8)."""

import torch
from torch import Tensor, nn

from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError

PROTOCOL = (
    "StyleGAN2, figure 8: standard deviation of the pixel values that each tRGB layer of the skip generator puts out,"
    " over 1,024 random w, as shares of their sum"
)
PAPER_SAMPLES = 1024


class _Spread:
    """Accumulate, in float64, the standard deviation of all pixels around the mean of their channel."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, 0.0, 0.0  # the latter two are [C] after the first images

    def __call__(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        x = output.detach().cpu().double()  # [N, C, r, r]
        self.count += len(x) * x.shape[2] * x.shape[3]
        self.total = self.total + x.sum([0, 2, 3])  # [C]
        self.squares = self.squares + x.square().sum([0, 2, 3])  # [C]
        self.resolution = x.shape[-1]

    @property
    def std(self) -> float:
        mean = torch.as_tensor(self.total / self.count)
        variance = torch.as_tensor(self.squares / self.count) - mean.square()  # [C]
        return float(variance.clamp(min=0).mean().sqrt())


@torch.no_grad()
def resolution_usage(generator: Generator, ws: Tensor, batch_size: int = 16) -> dict[int, float]:
    """Compute the share of each resolution in the sum of the standard deviations.

    It draws no random numbers, so it may be called between training steps.

    Args:
        generator: A generator of the architecture "skip", whose image is the sum of the outputs of all ToRGB layers.
        ws: Random codes [N, num_ws, w_dim]; the paper takes 1,024.
        batch_size: Images at a time.

    Returns:
        {resolution: share}, from resolution 4 up; the shares sum to 1.

    Raises:
        UserError: The generator is of another architecture.
    """
    check_usage(generator)
    (to_rgbs,) = (list(part.children()) for name, part in generator.synthesis.named_children() if name == "to_rgbs")
    spreads = [_Spread() for _ in to_rgbs]
    hooks = [layer.register_forward_hook(spread) for layer, spread in zip(to_rgbs, spreads, strict=True)]
    try:
        for part in ws.split(batch_size):
            generator.synthesis(part, noise_mode="const")
    finally:
        for hook in hooks:
            hook.remove()
    total = sum(spread.std for spread in spreads)
    return {spread.resolution: spread.std / total if total else 0.0 for spread in spreads}


def check_usage(generator: Generator) -> None:
    """Raise a UserError unless each resolution of a generator adds an image of its own."""
    if getattr(generator.synthesis, "architecture", None) != "skip":
        raise UserError(
            "resolution usage is defined for the architecture 'skip', in which each resolution adds an image"
        )
