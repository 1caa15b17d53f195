"""Protocols of generators and discriminators; any torch.nn.Module that matches one is one, without a base class."""

from typing import Protocol

from torch import Tensor

from stylegan2.runtime.module import Module


class MappingNetwork(Module, Protocol):
    """z to w."""

    @property
    def w_avg(self) -> Tensor:
        """[w_dim], the mean of W."""
        ...

    def __call__(
        self,
        z: Tensor,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Map z [N, z_dim] and labels int64 [N] to ws [N, num_ws, w_dim]."""
        ...

    def track_average(self, w: Tensor) -> None:
        """Move w_avg towards the mean of w [N, w_dim]."""
        ...


class SynthesisNetwork(Module, Protocol):
    """A synthesis network, which turns latents w into images."""

    def __call__(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        """Render ws [N, num_ws, w_dim] as images [N, img_channels, R, R], about in [-1, 1]."""
        ...


class CorrectableSynthesis(SynthesisNetwork, Protocol):
    """A synthesis network that takes corrections of its features as `features`."""

    feature_channels: dict[int, int]
    """{resolution: channels of the feature maps}"""

    def features_at(self, ws: Tensor, side: int, noise_mode: str = "const") -> Tensor:
        """Compute the feature maps [N, feature_channels[side], side, side] of ws, to which a correction is added."""
        ...


class Generator(Module, Protocol):
    """A generator: `synthesis(mapping(z))`."""

    z_dim: int
    w_dim: int
    num_ws: int
    """number of codes w that the synthesis reads"""
    num_classes: int
    """classes that the generator is conditioned on; 0 for none"""
    img_resolution: int
    img_channels: int
    grows: bool
    """whether it can be trained from low resolutions up; its synthesis then takes `resolution` and `alpha`"""
    has_styles: bool
    """whether each layer has a code of its own"""

    @property
    def mapping(self) -> MappingNetwork: ...
    @property
    def synthesis(self) -> SynthesisNetwork: ...
    @property
    def w_avg(self) -> Tensor:
        """[w_dim], the mean of W."""
        ...

    def __call__(
        self, z: Tensor, truncation_psi: float = 1.0, noise_mode: str = "const", labels: Tensor | None = None
    ) -> Tensor:
        """Map z [N, z_dim] and labels int64 [N] to images [N, img_channels, R, R]."""
        ...


class Discriminator(Module, Protocol):
    """A discriminator of images [N, C, R, R] in [-1, 1]."""

    num_classes: int
    mbstd_group: int
    """group size of the minibatch standard deviation"""

    def __call__(self, images: Tensor, parts: int = 1, labels: Tensor | None = None) -> Tensor:
        """Return the logits [N, 1] of images [N, C, R, R], `parts` independent batches, and labels int64 [N]."""
        ...
