"""What every generator and discriminator offers. A torch.nn.Module that has it is one: there is no base class."""

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
        """z [N, z_dim], labels int64 [N] -> ws [N, num_ws, w_dim]."""
        ...

    def track_average(self, w: Tensor) -> None:
        """Move w_avg towards the mean of w [N, w_dim]."""
        ...


class SynthesisNetwork(Module, Protocol):
    """w to images."""

    def __call__(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        """ws [N, num_ws, w_dim] -> images [N, img_channels, R, R], about [-1, 1]."""
        ...


class Generator(Module, Protocol):
    """A generator: `synthesis(mapping(z))`."""

    z_dim: int
    w_dim: int
    num_ws: int
    """codes w that the synthesis reads"""
    num_classes: int
    """classes that it is conditioned on; 0 for none"""
    img_resolution: int
    img_channels: int
    grows: bool
    """whether it can be trained from low resolutions up: its synthesis then takes `resolution` and `alpha`"""
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
        """z [N, z_dim], labels int64 [N] -> images [N, img_channels, R, R]."""
        ...


class Discriminator(Module, Protocol):
    """A discriminator of images [N, C, R, R] in [-1, 1]."""

    num_classes: int
    mbstd_group: int
    """group size of the minibatch standard deviation"""

    def __call__(self, images: Tensor, parts: int = 1, labels: Tensor | None = None) -> Tensor:
        """images [N, C, R, R], `parts` independent batches, labels int64 [N] -> logits [N, 1]."""
        ...
