"""Show the numbers, pictures and texts of a training in TensorBoard or Weights & Biases."""

import secrets
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import write_text


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
    """Open the named reporters (`runtime.choices.REPORTERS`) for a run that begins or resumes at `start`."""
    return [CLASSES[name](run_dir, start) for name in names]
