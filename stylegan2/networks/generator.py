"""The common base of generators that consist of a mapping and a synthesis network."""

from typing import Generic, TypeVar

from torch import Tensor, nn

from stylegan2.networks.protocols import MappingNetwork, SynthesisNetwork

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
