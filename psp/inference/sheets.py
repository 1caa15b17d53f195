"""Contact sheets of a translated folder, with one page for every forty faces."""

import math
from pathlib import Path

import numpy as np

from stylegan2.runtime import images
from stylegan2.runtime.output_names import printable

SHEET = "contact_sheet"
ROWS_A_BLOCK, ROWS_A_PAGE = 10, 40  # at most; the blocks of a page are side by side, equally high
Row = tuple[list[np.ndarray], str]  # (pictures, caption)


class Sheets:
    """A writer of pages with rows of pictures, which holds only the rows of one page in memory.

    Args:
        folder: Folder for contact_sheet.jpg, contact_sheet_2.jpg and so on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.pages = folder, 0
        self._rows: list[Row] = []

    def add(self, pictures: list[np.ndarray], caption: str) -> None:
        """Add a row of pictures, uint8 [H, W, 3] each: the source, the aligned face and the outputs."""
        self._rows.append((pictures, caption))
        if len(self._rows) == ROWS_A_PAGE:
            self._write_page()

    def finish(self) -> None:
        """Write the last page, and remove further pages of an earlier run with more photos."""
        if self._rows:
            self._write_page()
        surplus = self.pages + 1
        while self._path(surplus).exists():
            self._path(surplus).unlink()
            surplus += 1

    def _path(self, number: int) -> Path:
        return self.folder / (f"{SHEET}.jpg" if number == 1 else f"{SHEET}_{number}.jpg")

    def _write_page(self) -> None:
        self.pages += 1
        blocks = math.ceil(len(self._rows) / ROWS_A_BLOCK)
        height = math.ceil(len(self._rows) / blocks)
        starts = range(0, len(self._rows), height)
        images.write_image(
            self._path(self.pages), _side_by_side([_block(self._rows[start : start + height]) for start in starts])
        )
        self._rows = []


def _block(rows: list[Row]) -> np.ndarray:
    """Draw a block of rows, uint8 [H, W, 3]."""
    captions = [printable(caption) for _, caption in rows]
    outputs = max(1, max(len(pictures) for pictures, _ in rows) - 2)
    titles = ("source", "aligned", *(["output"] if outputs == 1 else [f"mix{k}" for k in range(outputs)]))
    return images.labelled_sheet([pictures for pictures, _ in rows], titles, captions)


def _side_by_side(blocks: list[np.ndarray]) -> np.ndarray:
    """Put pictures, uint8 [h, w, 3], side by side, and fill the space below shorter ones with white: [H, W, 3]."""
    height = max(len(block) for block in blocks)
    filled = [np.pad(b, ((0, height - len(b)), (0, 0), (0, 0)), constant_values=255) for b in blocks]  # [H, w, 3]
    return np.concatenate(filled, axis=1)  # [H, W, 3]
