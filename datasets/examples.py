"""Examples: the items of a data set from which a task makes training pairs."""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

Item = TypeVar("Item", covariant=True)


class Indexed(Protocol[Item]):
    """A collection of items with indices from 0, such as the images of a folder."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Item: ...


@dataclass(frozen=True)
class Example:
    """One target image and, if the data set provides it, the source image to translate into it."""

    target: np.ndarray
    """uint8 [P, P, 3]"""
    source: np.ndarray | None = None
    """uint8 [P, P, C] or label ids [P, P]; None if the task derives the source from the target"""
    name: str = ""
    """file name of the source, for messages"""

    def mirrored(self) -> "Example":
        """Mirror both images horizontally."""
        source = None if self.source is None else np.ascontiguousarray(self.source[:, ::-1])
        return Example(np.ascontiguousarray(self.target[:, ::-1]), source, self.name)

    def maybe_mirrored(self, rng: np.random.Generator) -> "Example":
        """Mirror the example with probability 0.5."""
        return self.mirrored() if rng.random() < 0.5 else self
