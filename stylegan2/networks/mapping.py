"""The mapping network from z to w, which StyleGAN introduced and StyleGAN2 keeps."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from stylegan2.networks.conditioning import LabelEmbedding, check_labels
from stylegan2.networks.layers import EqualLinear, normalize_2nd_moment


class Mapping(nn.Module):
    """The mapping f from Z to W: fully connected layers that learn slowly (StyleGAN, section 2).

    A network that is conditioned on classes concatenates the label's embedding to the normalised z (StyleGAN2-ADA).

    Args:
        z_dim: Size of z.
        w_dim: Size of w.
        num_ws: How often w is repeated, once for each code that the synthesis reads.
        layers: Number of layers.
        lr_multiplier: Learning rate relative to that of the other layers.
        num_classes: Classes that it is conditioned on; 0 for none.
        scale_bias: Apply the gain of the activation to the bias, as StyleGAN2 does.
    """

    w_avg: Tensor  # [w_dim], moving average of w, the centre of truncation

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        num_ws: int,
        layers: int,
        lr_multiplier: float = 0.01,
        num_classes: int = 0,
        scale_bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_ws, self.num_classes = num_ws, num_classes
        sizes = [z_dim + (w_dim if num_classes else 0)] + [w_dim] * layers
        self.layers = nn.ModuleList(
            EqualLinear(a, b, lr_multiplier=lr_multiplier, activate=True, scale_bias=scale_bias)
            for a, b in pairwise(sizes)
        )
        self.embedding = LabelEmbedding(num_classes, w_dim) if num_classes else None
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self, z: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Map z to w, and truncate: w' = w_avg + psi (w - w_avg) (StyleGAN, appendix B).

        Args:
            z: [N, z_dim].
            truncation_psi: 1 for no truncation; the smaller it is, the closer w is to its mean.
            truncation_cutoff: Number of the first codes to truncate; None for all.
            labels: int64 [N], where the network is conditioned on classes.

        Returns:
            ws [N, num_ws, w_dim].

        Raises:
            UserError: Labels are missing, or the network takes none.
        """
        check_labels(labels, self.num_classes)
        w = normalize_2nd_moment(z)
        if self.embedding is not None and labels is not None:
            w = torch.cat([w, self.embedding(labels)], dim=1)  # [N, z_dim + w_dim]
        for layer in self.layers:
            w = layer(w)  # [N, w_dim]
        ws = w[:, None].repeat(1, self.num_ws, 1)  # [N, num_ws, w_dim]
        if truncation_psi != 1.0:
            truncated = self.w_avg.lerp(ws[:, :truncation_cutoff], truncation_psi)
            ws = truncated if truncation_cutoff is None else torch.cat([truncated, ws[:, truncation_cutoff:]], dim=1)
        return ws

    @torch.no_grad()
    def track_average(self, w: Tensor, decay: float = 0.995) -> None:
        """Set w_avg <- decay * w_avg + (1 - decay) * the mean of w [N, w_dim]."""
        self.w_avg.copy_(w.mean(0).lerp(self.w_avg, decay))
