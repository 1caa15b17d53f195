"""Skip and count training steps with NaN or infinity, and end the training after too many in a row.

A loop runs each step `with guard.step():`. Within it, `guard.check` is called before each optimizer step and returns a
number on the device, which fused optimizers read there, so that nothing waits for the device. The counts are fetched
when the loop reports (`guard.look`); on a CPU, where fetching costs nothing, they are fetched after every step.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.progress import write_line


def gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """Return the norm [] of all gradients of an optimizer.

    It is NaN or infinite if any gradient is, and overflows if the squares in Adam would overflow.
    """
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


class Guard:
    """Find and count the steps that must be skipped.

    Args:
        limit: This many skipped steps in a row end the training.
        buffers: Tensors that a step writes before it knows whether it is finite, such as batch statistics; they get
            their earlier values back when the step is skipped.
        checkpoint: The file from which the training resumes, if any.
        device: The device of the losses; by default that of the buffers, or the CPU.

    Attributes:
        found_inf: float32 [], 1 if a term of the current or last step was NaN or infinite, else 0.
    """

    def __init__(
        self,
        limit: int,
        buffers: Iterable[Tensor] = (),
        checkpoint: Path | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.limit, self.buffers, self.checkpoint = limit, list(buffers), checkpoint
        self.device = device or (self.buffers[0].device if self.buffers else torch.device("cpu"))
        self.found_inf = torch.zeros([], dtype=torch.float32, device=self.device)
        self._terms: list[str] = []
        # Counted on the device: the term of the last skipped step, as its index in `_terms`, and numbers of steps.
        self._term, self._skipped, self._in_row, self._longest_row, self._worked = (
            torch.zeros([], dtype=torch.int64, device=self.device) for _ in range(5)
        )
        self._reported = 0  # how many skipped steps `pop` has returned
        self._announced = 0  # number of skipped steps that `look` has reported

    @property
    def failing(self) -> bool:
        """Whether the last step was skipped. Reading it waits for the device."""
        return bool(self._in_row > 0)

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Surround one step.

        Raises:
            UserError: On a CPU, too many steps in a row were skipped.
        """
        before = [tensor.detach().clone() for tensor in self.buffers]
        self.found_inf = torch.zeros([], dtype=torch.float32, device=self.device)
        yield
        self._put_back(before)
        failed = self.found_inf.long()
        self._skipped = self._skipped + failed
        self._in_row = (self._in_row + 1) * failed
        self._longest_row = torch.maximum(self._longest_row, self._in_row)
        self._worked = self._worked + (1 - failed)
        if self.device.type == "cpu":
            self.look()

    def check(self, optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor]) -> Tensor:
        """Check whether an optimizer must not step, because this or an earlier term of the step is NaN or infinite.

        Args:
            optimizer: An optimizer whose parameters have their gradients.
            terms: {name: tensor of any shape}; the last one is the loss, which is the sum of the others.

        Returns:
            `found_inf`, float32 []: 1 or 0, for the attribute of that name that fused optimizers read.
        """
        place = self._place((*terms, f"the gradient of {list(terms)[-1]}"))
        sums = [values.detach().sum() for values in terms.values()] + [gradient_norm(optimizer)]
        # A NaN or an infinity in any element appears in the sum too.
        failed = ~torch.stack([value.isfinite() for value in sums])  # [terms + 1]
        is_first = failed.any() & (self.found_inf == 0)
        self._term = torch.where(is_first, place + failed.int().argmax(), self._term)
        self.found_inf = torch.maximum(self.found_inf, failed.any().float())
        return self.found_inf

    def step_optimizer(self, optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor]) -> None:
        """Let an optimizer step unless this or an earlier term of the step is NaN or infinite.

        Args:
            optimizer: A fused optimizer, which reads its attribute `found_inf` on the device.
            terms: The terms, as in `check`.
        """
        setattr(optimizer, "found_inf", self.check(optimizer, terms))  # noqa: B010 (the class does not declare it)
        optimizer.step()

    def look(self) -> None:
        """Fetch the counts, print the skipped steps, and end the training if there were too many.

        Raises:
            UserError: Too many steps in a row were skipped.
        """
        skipped, in_row, longest_row, term = torch.stack(
            [self._skipped, self._in_row, self._longest_row, self._term]
        ).tolist()
        new, self._announced = skipped - self._announced, skipped
        if longest_row >= self.limit:
            row = "a step" if self.limit == 1 else f"{self.limit} steps in a row"
            raise UserError(
                f"training stops because {self._terms[term]} was NaN or infinite in {row}: lower learning_rate "
                f"or check the data; {self._way_back()}"
            )
        if new and in_row <= new:  # once a row
            what = "a step was" if new == 1 else f"{new} steps were"
            write_line(f"{what} skipped: {self._terms[term]} was NaN or infinite")

    def saved(self, checkpoint: Path) -> None:
        """Record a checkpoint that was written while the steps were finite."""
        self.checkpoint, self._worked = checkpoint, torch.zeros_like(self._worked)

    def pop(self) -> int:
        """Return how many steps were skipped since the last call. It waits for the device."""
        skipped = int(self._skipped)
        new, self._reported = skipped - self._reported, skipped
        return new

    @torch.no_grad()
    def _put_back(self, before: list[Tensor]) -> None:
        if self.device.type == "cpu" and not self.found_inf:
            return
        for tensor, value in zip(self.buffers, before, strict=True):
            tensor.copy_(torch.where(self.found_inf > 0, value, tensor))

    def _place(self, terms: tuple[str, ...]) -> int:
        """Return the index at which these names begin in `_terms`, and append them where they are new."""
        for place in range(len(self._terms)):
            if tuple(self._terms[place : place + len(terms)]) == terms:
                return place
        self._terms += terms
        return len(self._terms) - len(terms)

    def _way_back(self) -> str:
        if self.checkpoint is None:
            return "there is no checkpoint yet, so the same command starts again from the beginning"
        way = f"the same command resumes from the last good checkpoint, {str(self.checkpoint)!r}"
        return way if self._worked > 0 else f"{way}; if this happens again, move it away to resume from an earlier one"
