"""Training statistics, which are accumulated on the device, written to metrics.jsonl and shown by reporters."""

import json
import secrets
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import write_text, writing


class Reporter(Protocol):
    """A service that shows a training."""

    def scalars(self, at: int, values: Mapping[str, float]) -> None:
        """Show numbers at a position of the training."""

    def image(self, at: int, name: str, image: np.ndarray) -> None:
        """Show a picture, uint8 [H, W, C]."""

    def text(self, at: int, name: str, text: str) -> None:
        """Show a text and keep its line breaks."""

    def close(self) -> None:
        """Write everything that has not been written yet."""


class TensorBoard:
    """Event files of TensorBoard under run_dir/logs.

    Args:
        run_dir: Folder of the run.
        start: Position at which the run begins or resumes; entries after it are no longer shown.
    """

    def __init__(self, run_dir: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        _let_writers_fail_quietly()
        self._writer = SummaryWriter(str(run_dir / "logs"), purge_step=start + 1 if start else None)

    def scalars(self, at: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, at)

    def image(self, at: int, name: str, image: np.ndarray) -> None:
        self._writer.add_image(name, image, at, dataformats="HWC")
        self._writer.flush()

    def text(self, at: int, name: str, text: str) -> None:
        indented = "".join(f"    {line}\n" for line in text.splitlines())  # a block of code in Markdown
        self._writer.add_text(name, indented, at)

    def close(self) -> None:
        self._writer.close()


def _let_writers_fail_quietly() -> None:
    """Suppress the traceback of TensorBoard's own thread if it cannot write, because the disk is full, for example.

    The thread passes its error on to the next caller that writes, so the error is still reported.
    """
    previous = threading.excepthook
    if getattr(previous, "of_reporters", False):
        return

    def hook(failed: threading.ExceptHookArgs) -> None:
        of_tensorboard = type(failed.thread).__module__.startswith("tensorboard.")
        if not (of_tensorboard and issubclass(failed.exc_type, OSError)):
            previous(failed)

    hook.of_reporters = True
    threading.excepthook = hook


class WeightsAndBiases:
    """A run of Weights & Biases, which a resumed training continues; wandb's environment variables configure it.

    Args:
        run_dir: Folder of the run, whose wandb_id.txt holds the id of the run in Weights & Biases.
        start: Position at which the run begins or resumes.
    """

    def __init__(self, run_dir: Path, start: int) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError("report_to wandb needs the package wandb: pip install wandb") from None
        self._image = wandb.Image
        named = run_dir / "wandb_id.txt"
        if not start or not named.exists():
            write_text(named, secrets.token_hex(4) + "\n")
        name = named.read_text(encoding="utf-8").strip()
        self._run = wandb.init(project="psp", name=run_dir.name, id=name, dir=str(run_dir), resume="allow")

    def scalars(self, at: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=at)

    def image(self, at: int, name: str, image: np.ndarray) -> None:
        self._run.log({name: self._image(image)}, step=at)

    def text(self, at: int, name: str, text: str) -> None:
        self._run.summary[name] = text

    def close(self) -> None:
        self._run.finish()


CLASSES = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def open_reporters(names: Sequence[str], run_dir: Path, start: int) -> list[Reporter]:
    """Open the named reporters (`runtime.ranges.REPORTERS`) for a run that begins or resumes at `start`."""
    return [CLASSES[name](run_dir, start) for name in names]


class Averages:
    """Means of the values that were added since the last `pop`; nothing waits for the device until then."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor | int] = {}

    def add(self, name: str, values: Tensor, skip: Tensor | None = None) -> None:
        """Add a tensor, each element of which counts as one observation.

        Args:
            name: Name of the mean.
            values: A tensor of any shape on any device.
            skip: [], on the same device; if it is not 0, the values do not count, even if they are NaN.
        """
        total = values.detach().double().sum() if values.device.type != "mps" else values.detach().sum()
        count: Tensor | int = values.numel()
        if skip is not None:
            total = torch.where(skip > 0, torch.zeros_like(total), total)
            count = torch.where(skip > 0, 0, count)
        self._sums[name] = self._sums[name] + total if name in self._sums else total
        self._counts[name] = self._counts.get(name, 0) + count

    def pop(self) -> dict[str, float]:
        """Return {name: mean} of the observations that counted, and start again."""
        counts = {name: int(count) for name, count in self._counts.items()}
        means = {name: float(total) / counts[name] for name, total in self._sums.items() if counts[name]}
        self._sums.clear()
        self._counts.clear()
        return means


class StatsWriter:
    """Write statistics to run_dir/metrics.jsonl, one JSON object per line, and to reporters such as TensorBoard.

    A run that resumes drops the entries after the position at which it resumes, so that both read as one uninterrupted
    run.

    Args:
        run_dir: Folder of the run, which is created if it does not exist.
        position: Name of the training's position: "cur_nimg" or "cur_step".
        start: Position at which the run begins or resumes.
        idle: Write nothing, as all processes but the first do.
        report_to: Names of reporters (`stylegan2.runtime.stats`).

    Raises:
        UserError: The disk is full, or the folder is not writable.
    """

    def __init__(
        self, run_dir: Path, position: str, start: int, idle: bool = False, report_to: Sequence[str] = ("tensorboard",)
    ) -> None:
        self.position, self.idle = position, idle
        if idle:
            return
        self.path = run_dir / "metrics.jsonl"
        with writing(self.path.parent):
            run_dir.mkdir(parents=True, exist_ok=True)
            self._drop_after(start)
            self._jsonl = self.path.open("a", encoding="utf-8")
            self._reporters = open_reporters(report_to, run_dir, start)

    def _drop_after(self, start: int) -> None:
        if not self.path.exists():
            return
        kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if self._is_before(line, start)]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        partial.replace(self.path)

    def _is_before(self, line: str, start: int) -> bool:
        try:
            return json.loads(line)[self.position] <= start
        except (ValueError, KeyError, TypeError):  # the last line of a killed run may be incomplete
            return False

    def plot(self, at: int, values: dict[str, float]) -> None:
        """Show numbers without writing them to metrics.jsonl."""
        if self.idle:
            return
        with writing(self.path.parent):
            for reporter in self._reporters:
                reporter.scalars(at, values)

    def scalars(self, at: int, values: dict[str, float], **notes: object) -> None:
        """Write numbers to metrics.jsonl, with notes such as the network that measured them, and show them."""
        if self.idle:
            return
        self.plot(at, values)
        record: dict[str, object] = {self.position: at, **values, **notes}
        with writing(self.path.parent):
            self._jsonl.write(json.dumps(record) + "\n")
            self._jsonl.flush()

    def image(self, at: int, name: str, image: np.ndarray) -> None:
        """Show a picture, uint8 [H, W, C]."""
        if self.idle:
            return
        with writing(self.path.parent):
            for reporter in self._reporters:
                reporter.image(at, name, image)

    def text(self, at: int, name: str, text: str) -> None:
        """Show a text, such as the settings of the run."""
        if self.idle:
            return
        with writing(self.path.parent):
            for reporter in self._reporters:
                reporter.text(at, name, text)

    def close(self) -> None:
        if self.idle:
            return
        with writing(self.path.parent):
            self._jsonl.close()
            for reporter in self._reporters:
                reporter.close()
