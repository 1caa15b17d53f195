"""Generators whose measures are known by formula."""

import pytest
import torch
from torch import nn


class Toy(nn.Module):
    """w = mapping(z) is z itself; the image's pixels are a linear function of w."""

    def __init__(self, matrix, side=16):
        super().__init__()
        self.matrix = nn.Parameter(matrix, requires_grad=False)  # [w_dim, 3 * side^2]
        self.z_dim = self.w_dim = len(matrix)
        self.num_ws, self.img_resolution, self.img_channels = 2, side, 3
        self.noise_modes = []

    def mapping(self, z, truncation_psi=1.0, labels=None):
        return (z * truncation_psi)[:, None].repeat(1, self.num_ws, 1)

    def synthesis(self, ws, noise_mode="const"):
        self.noise_modes.append(noise_mode)
        images = (ws[:, 0] @ self.matrix).reshape(-1, 3, self.img_resolution, self.img_resolution)
        return images + torch.randn_like(images) if noise_mode == "random" else images


@pytest.fixture
def toy():
    """A linear generator of 16 latents; its matrix is scaled so that images mostly stay within [-1, 1]."""
    return Toy(torch.randn(16, 3 * 16 * 16, generator=torch.Generator().manual_seed(1)) * 0.1)


@pytest.fixture
def squared_distance():
    """|a - b|^2, whose path lengths can be computed by hand."""
    return lambda a, b: (a - b).square().sum([1, 2, 3])
