"""Ranger, pSp's optimizer: RAdam (arXiv 1908.03265), Lookahead (1907.08610), gradient centralization (2004.01461)."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Ranger(torch.optim.Optimizer):
    """Rectified Adam on centralized gradients, looking ahead every `k` steps.

    Args:
        params: parameters or parameter groups.
        lr: step size.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
        n_sma_threshold: below this length of the approximated moving average the step is not adaptive.
        k, alpha: every k steps the slow weights move the fraction alpha towards the fast ones, which restart from them.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
        n_sma_threshold: float = 5.0,
        k: int = 6,
        alpha: float = 0.5,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "n_sma_threshold": n_sma_threshold, "k": k, "alpha": alpha}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of every parameter that has a gradient; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["slow"] = parameter.clone()
        state["step"] += 1
        beta1, beta2 = group["betas"]
        grad = centralize(parameter.grad)  # pyright: ignore[reportArgumentType]
        state["exp_avg"].lerp_(grad, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)

        step_size = group["lr"] / (1 - beta1 ** state["step"])
        scale = rectification(state["step"], beta2, group["n_sma_threshold"])
        if scale is None:
            parameter.sub_(state["exp_avg"], alpha=step_size)
        else:
            root = state["exp_avg_sq"].sqrt().add_(group["eps"])
            parameter.addcdiv_(state["exp_avg"], root, value=-step_size * scale)

        if state["step"] % group["k"] == 0:  # Lookahead, algorithm 1
            state["slow"].lerp_(parameter, group["alpha"])
            parameter.copy_(state["slow"])


def centralize(grad: Tensor) -> Tensor:
    """Gradient minus its mean over all dimensions but the first (arXiv 2004.01461, eq. 1); vectors stay as they are."""
    if grad.ndim < 2:
        return grad
    return grad - grad.mean(dim=tuple(range(1, grad.ndim)), keepdim=True)


def rectification(step: int, beta2: float, threshold: float) -> float | None:
    """RAdam's r_t times the bias correction of the second moment (arXiv 1908.03265, algorithm 2).

    None while the approximated moving average is no longer than `threshold`: the variance is not tractable yet.
    """
    correction = 1 - beta2**step
    n_max = 2 / (1 - beta2) - 1
    n = n_max - 2 * step * beta2**step / correction
    if n <= threshold:
        return None
    r = math.sqrt((n - 4) * (n - 2) * n_max / ((n_max - 4) * (n_max - 2) * n))
    return r * math.sqrt(correction)
