"""Convert files, and write only what a formula of the other project confirms."""

from collections.abc import Iterator
from pathlib import Path

import torch

import psp
import stylegan2
from psp import loading
from psp.convert.export import export_problems, to_official
from psp.convert.verification import verify
from psp.model import PSp
from stylegan2 import convert
from stylegan2.convert import rosinality
from stylegan2.convert.verification import compare, require
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, writing


def write_official(source: Path, out: Path) -> Iterator[str]:
    """Write a pSp model in the layout of the published code. UserError: that code could not build it."""
    model, metadata = loading.load(source)
    if reasons := export_problems(model):
        raise UserError(f"the published code cannot build {str(source)!r}: {'; '.join(reasons)}")
    _write_torch(out, to_official(model, metadata.get("task", "inversion")))
    yield path_and_size(out)


def write_rosinality(source: Path, out: Path) -> Iterator[str]:
    """Write a generator, or that of a pSp model, in rosinality's layout, after a comparison with its formula.

    Yields:
        Lines about the comparisons, and about changes that the code of that project needs.

    Raises:
        UserError: The layout has no place for this generator.
    """
    generator = loading.load_generator(source)
    stored = rosinality.store(generator)
    yield from require(compare(generator, stored))
    yield from rosinality.differences(generator)
    _write_torch(out, rosinality.file_content(stored))
    yield path_and_size(out)


def write_ours(source: Path, out: Path) -> Iterator[str]:
    """Write any model or generator as a file of this package, after a comparison with its formula."""
    if source.is_file() and convert.recognise(source) != convert.OURS:
        yield from require(verify(source))
    model, metadata = loading.load_any(source)
    if isinstance(model, PSp):
        psp.save_model(out, model, metadata)
    else:
        stylegan2.save_generator(out, model, metadata)
    yield path_and_size(out)


def path_and_size(out: Path) -> str:
    return f"{out}: {out.stat().st_size / 1e6:.1f} MB"


def _write_torch(out: Path, content: dict[str, object]) -> None:
    with writing(out), atomic_file(out) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # on a full disk PyTorch's archive fails once more when it is closed
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
