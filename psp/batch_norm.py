"""Batch normalization over the batches of all processes, so that several train the same encoder as one would.

PyTorch's own synchronised form works on GPUs only; this one works wherever processes can exchange numbers.
"""

from typing import Any

import torch
from torch import Tensor, nn

from stylegan2.runtime import distributed
from stylegan2.runtime.module import Module


class SyncBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with training statistics over the samples of all processes, each of which has equally many.

    Parameters, buffers and their names are those of `nn.BatchNorm2d`; in evaluation mode nothing is exchanged.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize [N, C, H, W]."""
        if not self.training:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)  # [C] each, of this process
        means, variances = gather(torch.stack([mean, var])).unbind(1)  # [processes, C] each
        mean = means.mean(0)  # [C]
        var = variances.mean(0) + (means - mean).square().mean(0)  # [C]
        self._track(mean.detach(), var.detach(), x.numel() // x.shape[1] * distributed.world_size())
        scale = self.weight * (var + self.eps).rsqrt()  # [C]
        shift = self.bias - mean * scale  # [C]
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None]).to(input.dtype)  # [N, C, H, W]

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Move the running statistics towards those of a batch, mean and var [C] over `count` numbers a channel."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        momentum = 0.0 if self.momentum is None else self.momentum
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(var * (count / (count - 1)), momentum)


def synchronize(module: Module) -> None:
    """Replace every batch normalization below `module` by one over all processes, with the same parameters."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            with torch.device("meta"):
                twin = SyncBatchNorm2d(child.num_features, child.eps, child.momentum)
            twin.__dict__.update(child.__dict__)
            setattr(module, name, twin)
        else:
            synchronize(child)


class _Gather(torch.autograd.Function):
    """Stack the tensors of all processes; the gradient of a tensor is summed over all processes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return distributed.all_gather(values)  # [processes, ...]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return distributed.all_reduce_mean(grads[0].contiguous())[distributed.rank()] * distributed.world_size()


def gather(values: Tensor) -> Tensor:
    """Stack the tensors of all processes, of one shape [...], to [processes, ...], differentiably."""
    return _Gather.apply(values)
