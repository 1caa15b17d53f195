"""A number outside of its declared range is one sentence that begins with its name."""

import math
from dataclasses import dataclass, field
from typing import Annotated

import pytest
from annotated_types import Ge, Gt, Interval, Lt

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.ranges import Count, Positive, Seed, Share, Weight, check_ranges


@dataclass(frozen=True)
class Numbers:
    count: Count = 1
    limit: Count | None = None
    step: Positive = 0.1
    weight: Weight = 0.0
    share: Share = 1.0
    kept: Annotated[float, Interval(gt=0, le=1)] = 1.0
    most: Annotated[float, Interval(ge=1, le=math.inf)] = math.inf
    below: Annotated[int, Ge(2), Lt(8)] = 2
    above: Annotated[float, Gt(3)] = 4.0
    factors: tuple[Count, ...] = (1, 2)
    rates: dict[int, Positive] = field(default_factory=dict)
    free: float = -5.0
    seed: Seed = 2**63 - 1
    title: str = "nan"
    on: bool = True

    def __post_init__(self) -> None:
        check_ranges(self)


def test_what_is_declared_is_allowed():
    Numbers()
    Numbers(limit=3, share=0, kept=1e-9, most=1, rates={8: 0.1}, free=-1e300, seed=0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"count": 0}, "count must be at least 1, not 0"),
        ({"limit": -1}, "limit must be at least 1, not -1"),
        ({"step": 0.0}, "step must be positive, not 0.0"),
        ({"step": math.nan}, "step must be a finite number, not nan"),
        ({"step": math.inf}, "step must be a finite number, not inf"),
        ({"weight": -0.5}, "weight must not be negative, but is -0.5"),
        ({"share": 1.5}, "share must be from 0 to 1, not 1.5"),
        ({"kept": 0}, "kept must be above 0 and at most 1, not 0"),
        ({"most": 0.5}, "most must be at least 1, not 0.5"),
        ({"most": math.nan}, "most must be a finite number, not nan"),
        ({"most": -math.inf}, "most must be a finite number, not -inf"),
        ({"below": 8}, "below must be below 8, not 8"),
        ({"above": 3}, "above must be above 3, not 3"),
        ({"factors": (1, 0)}, "factors must be at least 1, not 0"),
        ({"rates": {8: -1.0}}, "rates must be positive, not -1.0"),
        ({"free": math.nan}, "free must be a finite number, not nan"),
        ({"free": -math.inf}, "free must be a finite number, not -inf"),
        ({"seed": 2**63}, f"seed must be at most 2^63 - 1 = {2**63 - 1}, not {2**63}"),
        ({"seed": -1}, "seed must not be negative, but is -1"),
    ],
)
def test_what_lies_outside_is_one_sentence(change, sentence):
    with pytest.raises(UserError) as caught:
        Numbers(**change)
    assert str(caught.value) == sentence
