"""Results of metrics, as JSON and as a table: every number beside its network, its samples and its protocol."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """What one metric found."""

    values: dict[str, float]
    """{name: number}"""
    num_samples: int
    """generated images, or pairs of them, that went into it"""
    protocol: str
    """the paper's"""
    departures: tuple[str, ...] = ()
    """where this measurement was another than the paper's"""
    network: str = ""
    """through which the images were seen"""
    details: dict[str, Any] = field(default_factory=dict)
    """what is no single number"""
    seconds: float = 0.0
    """as long as it took; what several metrics share counts for the first"""


def fewer(num_samples: int, paper: int) -> tuple[str, ...]:
    """List the departure of a measurement with another number of samples than the paper's."""
    return () if num_samples == paper else (f"{num_samples:,} samples instead of {paper:,}",)


def as_json(results: Mapping[str, Result], about: Mapping[str, Any]) -> str:
    """Format results as JSON.

    Args:
        about: What all metrics share (generator, data, seed, ...).
    """
    return json.dumps({**about, "results": {name: asdict(r) for name, r in results.items()}}, indent=2) + "\n"


def as_markdown(results: Mapping[str, Result], about: Mapping[str, Any]) -> str:
    """Format a table with one number a row, then each protocol and departure with its metrics.

    Args:
        about: What all metrics share (generator, data, seed, ...).
    """
    lines = [", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about.items()), ""]
    lines += ["| metric | value | samples | network | seconds |", "|---|---|---|---|---|"]
    for result in results.values():
        for name, value in result.values.items():
            cells = [name, f"{value:.4g}", f"{result.num_samples:,}", result.network or "-", f"{result.seconds:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_notes(results)]) + "\n"


def _notes(results: Mapping[str, Result]) -> Sequence[str]:
    """Say what each protocol is and where a measurement departs from it, each sentence once."""
    protocols: dict[str, list[str]] = {}
    departures: dict[str, list[str]] = {}
    for name, result in results.items():
        protocols.setdefault(result.protocol, []).append(name)
        for departure in result.departures or ("as there",):
            departures.setdefault(departure, []).append(name)
    lines = [f"- {', '.join(names)}: {protocol}." for protocol, names in protocols.items()]
    return [*lines, "", "Here:", "", *(f"- {', '.join(names)}: {text}." for text, names in departures.items())]
