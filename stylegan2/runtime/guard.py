"""NaN and infinity in training: such a step is skipped and counted, and too many in a row end the training.

A loop runs each step `with guard.step():`; the step asks `check_finite` before each of its optimizers moves.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from stylegan2.runtime.errors import UserError


class NonFiniteError(Exception):
    """Ends a step before its optimizer moves; says which term is NaN or infinite."""


def check_finite(optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor]) -> None:
    """NonFiniteError if a term, or a gradient that the optimizer is about to use, is NaN or infinite.

    Args:
        terms: {name: tensor of any shape}; the last one is the loss that the others add up to.

    One number is fetched from the device, whatever the number of terms and parameters: a NaN or an infinity in any of
    them is in the sum of the loss and the gradients' norm too. The norm overflows where the squares in Adam would.
    """
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    name, loss = list(terms.items())[-1]
    if torch.isfinite(loss.detach().sum() + torch.nn.utils.get_total_norm(gradients)):
        return
    culprits = [term for term, values in terms.items() if not values.isfinite().all()]
    raise NonFiniteError(culprits[0] if culprits else f"the gradient of {name}")


class Guard:
    """Counts the steps that were skipped.

    Args:
        limit: so many in a row end the training.
        written: what a step writes before it asks, such as batch statistics; put back when the step is skipped.
        checkpoint: the file that the training goes on from, if any.

    Attributes:
        failing: whether the last step was skipped.
    """

    def __init__(self, limit: int, written: Iterable[Tensor], checkpoint: Path | None = None) -> None:
        self.limit, self.written, self.checkpoint = limit, list(written), checkpoint
        self._skipped = self._in_row = 0
        self._has_worked = False  # since the checkpoint

    @property
    def failing(self) -> bool:
        return self._in_row > 0

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Around one step. UserError: it was the last of too many in a row that had to be skipped."""
        before = [tensor.detach().clone() for tensor in self.written]
        try:
            yield
        except NonFiniteError as error:
            with torch.no_grad():
                for tensor, value in zip(self.written, before, strict=True):
                    tensor.copy_(value)
            self._count(str(error))
        else:
            self._in_row, self._has_worked = 0, True

    def saved(self, checkpoint: Path) -> None:
        """Remembers where to go back to."""
        self.checkpoint, self._has_worked = checkpoint, False

    def pop(self) -> int:
        """How many steps were skipped since the last call."""
        skipped, self._skipped = self._skipped, 0
        return skipped

    def _count(self, term: str) -> None:
        self._skipped += 1
        self._in_row += 1
        if self._in_row >= self.limit:
            row = "a step" if self.limit == 1 else f"{self.limit} steps in a row"
            raise UserError(
                f"training stops, since {term} was NaN or infinite in {row}: lower --learning_rate or look at the "
                f"data; {self._way_back()}"
            )
        if self._in_row == 1:
            tqdm.write(f"a step was skipped: {term} was NaN or infinite")

    def _way_back(self) -> str:
        if self.checkpoint is None:
            return "there is no checkpoint yet, so the same command starts again"
        way = f"the same command goes on from the last good checkpoint, {str(self.checkpoint)!r}"
        return way if self._has_worked else f"{way}; if no step from there works, move it away for an earlier one"
