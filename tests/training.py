"""What the tests of both trainers share."""

import json
from pathlib import Path


def records(run_dir: Path) -> list[dict[str, float]]:
    """Read what a run logged, without what depends on the machine."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if not key.startswith("speed")} for line in lines]


def step_records(run_dir: Path) -> list[dict[str, float]]:
    """Read what a run logged of its steps, without the records of validations and sample grids."""
    return [record for record in records(run_dir) if "train/skipped_steps" in record]
