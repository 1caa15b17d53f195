"""Report results of metrics as JSON and as a table, each number with its network, its samples and its protocol."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Result:
    """The result of one metric."""

    values: dict[str, float]
    """{name: number}"""
    num_samples: int
    """number of generated images, or pairs of them, that were measured"""
    protocol: str
    """how the paper measures"""
    departures: tuple[str, ...] = ()
    """differences of this measurement from the paper's"""
    network: str = ""
    """network that computed the features"""
    details: Mapping[str, object] = field(default_factory=dict)
    """further results that are not a single number"""
    seconds: float = 0.0
    """duration; work that several metrics share counts for the first of them"""


def fewer(num_samples: int, paper: int) -> tuple[str, ...]:
    """Return the departure of a measurement whose number of samples is not the paper's; empty if it is."""
    return () if num_samples == paper else (f"{num_samples:,} samples instead of {paper:,}",)


def as_json(results: Mapping[str, Result], about: Mapping[str, object]) -> str:
    """Format results as JSON.

    Args:
        results: {metric: result}.
        about: What all metrics share (generator, data, seed, ...).
    """
    return json.dumps({**about, "results": {name: asdict(r) for name, r in results.items()}}, indent=2) + "\n"


def as_markdown(results: Mapping[str, Result], about: Mapping[str, object]) -> str:
    """Format a Markdown table with one number per row, then each protocol and departure with its metrics.

    Args:
        results: {metric: result}.
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
    """Return a line for each protocol and each departure from it, without repetitions."""
    protocols: dict[str, list[str]] = {}
    departures: dict[str, list[str]] = {}
    for name, result in results.items():
        protocols.setdefault(result.protocol, []).append(name)
        for departure in result.departures or ("as in the protocol",):
            departures.setdefault(departure, []).append(name)
    lines = [f"- {', '.join(names)}: {protocol}." for protocol, names in protocols.items()]
    return [
        *lines,
        "",
        "Differences from the protocols:",
        "",
        *(f"- {', '.join(names)}: {text}." for text, names in departures.items()),
    ]
