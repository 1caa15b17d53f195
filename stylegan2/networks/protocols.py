"""Protocols of generators and discriminators; any torch.nn.Module that matches one is one, without a base class.

`TwoPartGenerator` implements what generators of a mapping and a synthesis network share.
"""

from typing import Generic, Protocol, TypeVar

from torch import Tensor, nn

from stylegan2.runtime.module import Module


class MappingNetwork(Module, Protocol):
    """A mapping network, which turns latents z into latents w."""

    @property
    def w_avg(self) -> Tensor:
        """[w_dim], the mean of W."""
        ...

    def __call__(
        self, z: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None, labels: Tensor | None = None
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


MappingPart = TypeVar("MappingPart", bound=MappingNetwork)
SynthesisPart = TypeVar("SynthesisPart", bound=SynthesisNetwork)


class TwoPartGenerator(nn.Module, Generic[MappingPart, SynthesisPart]):
    """A generator whose images are synthesis(mapping(z)).

    Attributes:
        mapping: Maps z [N, z_dim] to ws [N, num_ws, w_dim].
        synthesis: Maps ws to images.
        z_dim, w_dim, num_ws, num_classes, img_resolution, img_channels: Sizes; the synthesis reads num_ws codes w.
        w_avg: Buffer [w_dim], the mean of W.
        grows: Whether the generator can be trained from low resolutions up.
        has_styles: Whether each layer has a code of its own.
    """

    mapping: MappingPart
    synthesis: SynthesisPart

    @property
    def w_avg(self) -> Tensor:
        return self.mapping.w_avg

    def forward(
        self, z: Tensor, truncation_psi: float = 1.0, noise_mode: str = "const", labels: Tensor | None = None
    ) -> Tensor:
        """Generate images.

        Args:
            z: [N, z_dim], drawn from a Gaussian.
            truncation_psi: 1 for no truncation; the smaller it is, the closer w is to its mean.
            noise_mode: "const" (the stored maps), "random" (fresh, from the global generator) or "none".
            labels: Classes, int64 [N], where the generator is conditioned on them.

        Returns:
            [N, img_channels, R, R], about in [-1, 1] but not clamped.

        Raises:
            UserError: Labels are missing or not expected, or the generator has no space W to truncate in.
        """
        return self.synthesis(self.mapping(z, truncation_psi, labels=labels), noise_mode)
