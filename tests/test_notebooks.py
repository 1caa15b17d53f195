"""The notebooks of docs/ run from top to bottom, and the outputs that they show are reproduced."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
BYTES = 500_000
DIFFERENCE = 6.0  # of 255, on average: JPEG, and rounding that differs between machines


def outputs_of(notebook):
    """What each cell of code returned: its data by MIME type, or None."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    results = [[output for output in cell.outputs if output.output_type == "execute_result"] for cell in cells]
    return [result[0].data if result else None for result in results]


def picture(data):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"]))).convert("RGB"), float)


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS] == ["edit_a_photo.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_clean(path):
    nbformat = pytest.importorskip("nbformat", reason="notebooks are read by nbformat")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < BYTES
    kinds = {output.output_type for cell in notebook.cells for output in cell.get("outputs", ())}
    assert kinds == {"execute_result"}  # no warnings, and no paths of a machine


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_says(path, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="notebooks are read by nbformat")
    nbclient = pytest.importorskip("nbclient", reason="notebooks are run by nbclient")
    pytest.importorskip("ipykernel", reason="notebooks run in IPython's kernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    stored = outputs_of(nbformat.read(path, as_version=4))
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=800, kernel_name="python3", resources=place).execute()
    for before, now in zip(stored, outputs_of(notebook), strict=True):
        if before is None or "image/jpeg" not in before:
            assert (before is None) == (now is None)
            assert before is None or before["text/plain"] == now["text/plain"]
        else:
            assert picture(before).shape == picture(now).shape
            assert np.abs(picture(before) - picture(now)).mean() < DIFFERENCE
