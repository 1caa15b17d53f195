"""GAN losses as pure functions that return one value per sample, [N].

Logits are [N, K]: a discriminator returns one for the image, or several for its places and scales, whose losses are
averaged.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan2.runtime.randomness import draw_shard, normal_like


def logistic_g(fake_logits: Tensor) -> Tensor:
    """Return the non-saturating generator loss -log sigmoid(D(G(z))) (Goodfellow et al. 2014): [N, K] -> [N]."""
    return F.softplus(-fake_logits).mean(1)  # [N]


def logistic_d(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Return -log(1 - sigmoid(D(fake))) - log sigmoid(D(real)): [N, K] each -> [N]."""
    return (F.softplus(fake_logits) + F.softplus(-real_logits)).mean(1)  # [N]


def wgan_g(fake_logits: Tensor) -> Tensor:
    """Return -D(G(z)) (Arjovsky et al. 2017): [N, K] -> [N]."""
    return -fake_logits.mean(1)  # [N]


def wgan_d(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Return D(fake) - D(real): [N, K] each -> [N]."""
    return (fake_logits - real_logits).mean(1)  # [N]


def hinge_g(fake_logits: Tensor) -> Tensor:
    """Return -D(G(z)), the same as in WGAN (Lim and Ye 2017): [N, K] -> [N]."""
    return -fake_logits.mean(1)  # [N]


def hinge_d(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Return max(0, 1 + D(fake)) + max(0, 1 - D(real)) (Lim and Ye 2017): [N, K] each -> [N]."""
    return (F.relu(1 + fake_logits) + F.relu(1 - real_logits)).mean(1)  # [N]


D_LOSSES = {"logistic": logistic_d, "wgan": wgan_d, "hinge": hinge_d}
G_LOSSES = {"logistic": logistic_g, "wgan": wgan_g, "hinge": hinge_g}


def drift(real_logits: Tensor) -> Tensor:
    """Return D(real)^2, which keeps D from drifting away from 0; its weight is 0.001 (PGGAN, appendix A.1): [N]."""
    return real_logits.square().mean(1)  # [N]


def interpolate(fake: Tensor, real: Tensor) -> Tensor:
    """Return a random point between each fake and real image, [N, C, H, W], at which gradients can be taken."""
    like_real = {"dtype": real.dtype, "device": real.device}
    position = draw_shard(lambda count: torch.rand(count, 1, 1, 1, **like_real), len(real))  # [N, 1, 1, 1]
    return fake.detach().lerp(real, position).requires_grad_(True)  # [N, C, H, W]


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Return (|| grad_x D(x) || - 1)^2 at points between reals and fakes (Gulrajani et al. 2017, eq. 3): [N]."""
    (grad,) = torch.autograd.grad(logits.sum(), images, create_graph=True)  # [N, C, H, W]
    return (torch.linalg.vector_norm(grad, dim=(1, 2, 3)) - 1).square()  # [N]


def r1(real_logits: Tensor, real: Tensor) -> Tensor:
    """Return || grad_x D(x) ||^2 at real images or latents; its weight is gamma / 2 (Mescheder 2018, eq. 9): [N]."""
    (grad,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)  # [N, C, H, W] or [N, w_dim]
    return grad.square().flatten(1).sum(1)  # [N]


def path_lengths(images: Tensor, ws: Tensor, create_graph: bool = True) -> Tensor:
    """Return || J_w^T y || with y ~ N(0, 1) / sqrt(pixels), averaged over layers (StyleGAN2, eq. 4).

    The penalty is the squared deviation of the lengths from their running mean, which starts at 0.

    Args:
        images: [N, C, H, W], computed from `ws`.
        ws: [N, num_ws, w_dim], which require a gradient.
        create_graph: Make the lengths differentiable.

    Returns:
        [N].
    """
    y = normal_like(images) / (images.shape[2] * images.shape[3]) ** 0.5
    (grad,) = torch.autograd.grad((images * y).sum(), ws, create_graph=create_graph)  # [N, num_ws, w_dim]
    return grad.square().sum(2).mean(1).sqrt()  # [N]
