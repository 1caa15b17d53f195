"""What a dataset gives and a task makes a pair of."""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

Item = TypeVar("Item", covariant=True)


class Indexed(Protocol[Item]):
    """Items by index from 0 on, such as the images of a folder."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Item: ...


@dataclass(frozen=True)
class Example:
    """One image to render and, where the data have it, the image to render it from."""

    target: np.ndarray
    """uint8 [P, P, 3]"""
    source: np.ndarray | None = None
    """uint8 [P, P, C], or label ids [P, P]; None where the task derives the source from the target"""
    name: str = ""
    """the source's file, for messages"""

    def mirrored(self) -> "Example":
        """Mirror both images, left to right."""
        source = None if self.source is None else np.ascontiguousarray(self.source[:, ::-1])
        return Example(np.ascontiguousarray(self.target[:, ::-1]), source, self.name)

    def maybe_mirrored(self, rng: np.random.Generator) -> "Example":
        """Mirror the example half of the time."""
        return self.mirrored() if rng.random() < 0.5 else self
