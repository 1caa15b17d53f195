"""Ranger, pSp's optimizer: RAdam (arXiv 1908.03265), Lookahead (1907.08610), gradient centralization (2004.01461)."""

# pyright: reportPrivateImportUsage=false
# (PyTorch's own optimizers use these functions on lists of tensors, which have no public names.)

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def build_optimizer(name: str, parameters: Iterable[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Build "ranger" or "adam" in the form that updates all parameters at once.

    Both skip a step if their attribute `found_inf`, a tensor [] on the device, is not 0 (see
    `stylegan2.runtime.guard.Guard`).
    """
    if name == "ranger":
        return Ranger(parameters, lr=lr)
    return torch.optim.Adam(parameters, lr=lr, fused=True)


def unscale(optimizer: torch.optim.Optimizer, scale: float) -> None:
    """Divide the gradients by the factor with which the loss was scaled."""
    if scale != 1:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        torch._foreach_mul_(gradients, 1 / scale)


class Ranger(torch.optim.Optimizer):
    """Rectified Adam on centralized gradients, looking ahead every `k` steps.

    A step changes nothing if the attribute `found_inf`, a tensor [], is not 0. It is read on the device: a step does
    not wait for its own gradients, but finds out at its start whether the step before changed anything.

    Args:
        params: Parameters or parameter groups.
        lr: Step size.
        betas: Decay of the two moments.
        eps: Added to the root of the second moment.
        n_sma_threshold: The step is not adaptive below this length of the approximated moving average.
        k: Every k steps the slow weights move towards the fast ones, which restart from them.
        alpha: The fraction by which the slow weights move.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        n_sma_threshold: float = 5.0,
        k: int = 6,
        alpha: float = 0.5,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "n_sma_threshold": n_sma_threshold, "k": k, "alpha": alpha}
        super().__init__(params, defaults)
        self.found_inf: Tensor | None = None
        self._pending: tuple[Tensor, torch.cuda.Event, list[Tensor]] | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Update every parameter that has a gradient, which is overwritten; return what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.settle()
        skip = self.found_inf
        if skip is not None and skip.device.type != "cuda":  # reading the value costs nothing elsewhere
            if skip > 0:
                return loss
            skip = None
        moved: list[Tensor] = []
        for group in self.param_groups:
            # Parameters with different numbers of steps, such as late deltas of e4e, have different bias corrections.
            by_step: dict[int, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_step[self._state(parameter)["step"] + 1].append(parameter)
            for step, parameters in by_step.items():
                self._update(parameters, step, group, skip)
                moved += parameters
        if skip is not None:
            self._remember(skip, moved)
        return loss

    def settle(self) -> None:
        """Undo the count of the last step if it changed nothing; call this before the state is saved."""
        if self._pending is None:
            return
        skipped, copied, parameters = self._pending
        self._pending = None
        copied.synchronize()  # belongs to the step before, so that the device already works on the next one
        if skipped:
            for parameter in parameters:
                self.state[parameter]["step"] -= 1

    def _remember(self, skip: Tensor, moved: list[Tensor]) -> None:
        """Copy `skip` to the host without waiting."""
        skipped = torch.empty([], dtype=skip.dtype, pin_memory=True).copy_(skip, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record(torch.cuda.current_stream(skip.device))
        self._pending = skipped, copied, moved

    def _state(self, parameter: Tensor) -> dict[str, Any]:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["slow"] = parameter.clone()
        return state

    def _update(self, parameters: list[Tensor], step: int, group: dict[str, Any], skip: Tensor | None) -> None:
        """Update parameters that have had equally many steps; nothing changes if skip [] is not 0."""
        states = [self.state[parameter] for parameter in parameters]
        for state in states:
            state["step"] = step
        means, squares, slow = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "slow"))
        beta2 = group["betas"][1]
        grads = [with_strides_of(centralize(p.grad), p) for p in parameters if p.grad is not None]
        bad = None if skip is None else skip > 0
        scale = rectification(step, beta2, group["n_sma_threshold"])
        if scale is not None and _have_equal_strides(parameters, grads, means, squares):
            _adaptive_step(parameters, grads, means, squares, step, scale, group, bad)
        else:
            _plain_step(parameters, grads, means, squares, step, scale, group, bad)

        if step % group["k"] == 0:  # Lookahead, algorithm 1
            if bad is None:
                torch._foreach_lerp_(slow, parameters, group["alpha"])
                torch._foreach_copy_(parameters, slow)
            else:
                weight = torch.where(bad, 0.0, group["alpha"])
                for kept, parameter in zip(slow, parameters, strict=True):
                    kept.lerp_(parameter, weight)
                    parameter.copy_(torch.where(bad, parameter, kept))


def _adaptive_step(
    parameters: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    step: int,
    scale: float,
    group: dict[str, Any],
    bad: Tensor | None,
) -> None:
    """Compute RAdam's rectified step in one pass over memory, by PyTorch's Adam with another step size and eps.

    Adam divides by sqrt(v / c) + eps, where c corrects the bias of the second moment v, and RAdam by sqrt(v) + eps.
    """
    beta1, beta2 = group["betas"]
    correction = math.sqrt(1 - beta2**step)
    count = torch.full([], float(step), device=parameters[0].device)
    torch._fused_adam_(
        parameters, grads, means, squares, [], [count] * len(parameters), lr=group["lr"] * scale / correction,
        beta1=beta1, beta2=beta2, weight_decay=0.0, eps=group["eps"] / correction, amsgrad=False, maximize=False,
        found_inf=None if bad is None else bad.float(),
    )  # fmt: skip


def _plain_step(
    parameters: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    step: int,
    scale: float | None,
    group: dict[str, Any],
    bad: Tensor | None,
) -> None:
    """Compute RAdam's step of any kind and for tensors of any layout, one operation after the other."""
    beta1, beta2 = group["betas"]
    step_size = group["lr"] / (1 - beta1**step)
    if bad is None:
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
    else:
        for grad in grads:
            grad.masked_fill_(bad, 0)
        torch._foreach_mul_(means, torch.where(bad, 1.0, beta1))
        torch._foreach_add_(means, grads, alpha=1 - beta1)
        torch._foreach_mul_(squares, torch.where(bad, 1.0, beta2))
    torch._foreach_addcmul_(squares, grads, grads, value=1 - beta2)

    if scale is not None:
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, group["eps"])
        if bad is not None:
            torch._foreach_mul_(roots, torch.where(bad, math.inf, 1.0))  # so that nothing is added
        torch._foreach_addcdiv_(parameters, means, roots, value=-step_size * scale)
    elif bad is None:
        torch._foreach_add_(parameters, means, alpha=-step_size)
    else:
        torch._foreach_add_(parameters, torch._foreach_mul(means, torch.where(bad, 0.0, -step_size)))


def _have_equal_strides(*groups: list[Tensor]) -> bool:
    """Return whether each parameter has the strides of its gradient and moments, which a fused step does not check."""
    return all(len({tensor.stride() for tensor in tensors}) == 1 for tensors in zip(*groups, strict=True))


def centralize(grad: Tensor) -> Tensor:
    """Subtract from a gradient its mean over all dimensions but the first, if it has several (2004.01461, eq. 1).

    The gradient is overwritten, which saves as much memory as all parameters take.
    """
    if grad.ndim < 2:
        return grad
    return grad.sub_(grad.mean(dim=tuple(range(1, grad.ndim)), keepdim=True))


def with_strides_of(grad: Tensor, parameter: Tensor) -> Tensor:
    """Return a gradient with the strides of its parameter, which an update of all parameters at once needs.

    Gradients of 1 x 1 convolutions may have other strides in dimensions of size 1.
    """
    return grad if grad.stride() == parameter.stride() else torch.empty_like(parameter).copy_(grad)


def rectification(step: int, beta2: float, threshold: float) -> float | None:
    """Return RAdam's r_t times the bias correction of the second moment (arXiv 1908.03265, algorithm 2).

    Return None while the approximated moving average is at most `threshold` long, as the variance is not tractable yet.
    """
    correction = 1 - beta2**step
    n_max = 2 / (1 - beta2) - 1
    n = n_max - 2 * step * beta2**step / correction
    if n <= threshold:
        return None
    r = math.sqrt((n - 4) * (n - 2) * n_max / ((n_max - 4) * (n_max - 2) * n))
    return r * math.sqrt(correction)
