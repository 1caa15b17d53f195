"""Make a truncation part of a mapping network, so that it needs no psi any more; psi may also be more than 1."""

import copy

import torch
from torch import Tensor

from stylegan2.networks.conditioning import labels_of
from stylegan2.networks.protocols import Generator, MappingNetwork
from stylegan2.runtime.errors import UserError

STEPS, BATCH = 1_500, 256
RELATIVE_RATE = 2e-3  # first learning rate, as a share of the standard deviation of the weights
BETAS = (0.9, 0.99)


def learn_truncation(generator: Generator, psi: float) -> float:
    """Train the mapping network to map z to w_avg + psi (w - w_avg), which it does with a truncation of psi now.

    Samples with psi above 1 vary more, and more of them look unnatural. The synthesis network and w_avg do not change,
    so that encoders and directions stay valid. This takes seconds, needs no data, and gives the same in every call.

    Args:
        generator: A generator on the CPU, whose mapping network is changed in place.
        psi: The truncation.

    Returns:
        What is left of the error: the squared distance to the truncated w, relative to that of these to w_avg.

    Raises:
        UserError: The generator has no mapping network.
    """
    student, teacher = generator.mapping, copy.deepcopy(generator.mapping).requires_grad_(False)
    weights = [parameter for parameter in student.parameters() if parameter.requires_grad]
    if not (generator.has_styles and weights):
        raise UserError("this generator has no mapping network that could learn a truncation")
    rate = RELATIVE_RATE * max(float(weight.detach().std()) for weight in weights if weight.ndim > 1)
    optimizer, source = torch.optim.Adam(weights, lr=rate, betas=BETAS), torch.Generator().manual_seed(0)
    labels = labels_of(generator, torch.arange(BATCH))  # [N] of a generator with classes
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / STEPS)
        z = torch.randn(BATCH, generator.z_dim, generator=source)
        error = _relative_error(student, teacher, z, labels, psi)
        optimizer.zero_grad(set_to_none=True)
        error.backward()
        optimizer.step()
    with torch.no_grad():
        return float(
            _relative_error(student, teacher, torch.randn(BATCH, generator.z_dim, generator=source), labels, psi)
        )


def _relative_error(
    student: MappingNetwork, teacher: MappingNetwork, z: Tensor, labels: Tensor | None, psi: float
) -> Tensor:
    """Return the squared distance [] of the student's w to the teacher's truncated w, relative to that to the mean."""
    w, truncated = student(z, labels=labels)[:, 0], teacher(z, psi, labels=labels)[:, 0]  # [N, w_dim] each
    return (w - truncated).square().sum() / (truncated - teacher.w_avg).square().sum()
