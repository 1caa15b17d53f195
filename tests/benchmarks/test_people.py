"""Outputs and edits for photographs of people, at toy size: procedural faces in place of photographs."""

import csv
import re
import subprocess
import sys
import warnings

import pytest
import torch

from benchmarks import people
from datasets.labelled import face_attributes
from datasets.synthetic import SyntheticFaces
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.images import to_uint8, write_image

FACES = 24


class MeanColour(torch.nn.Module):
    """In place of a face recogniser: its embedding is the mean colour of a face."""

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return faces.mean([2, 3])


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    path = tmp_path_factory.mktemp("judge") / "colour.ts"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated
        torch.jit.save(torch.jit.script(MeanColour()), str(path))
    return path


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A folder of faces and, beside it, the CSV file of their attributes."""
    folder, drawn = tmp_path_factory.mktemp("faces"), SyntheticFaces(64)
    with (folder.parent / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "yaw", "smile"])
        for k in range(FACES):
            write_image(folder / f"{k:02d}.png", to_uint8(torch.from_numpy(drawn[k].image)[None])[0])
            attributes = face_attributes(drawn, k)
            rows.writerow([f"{k:02d}.png", int(attributes["yaw"]), int(attributes["smile"])])
    return folder


def measured(*flags, cwd):
    command = [sys.executable, people.__file__, *map(str, flags)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ") and "---" not in line]
    return lines[0], {
        name: cells for name, *cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[1:])
    }


def test_outputs_are_compared_with_the_photographs_of_their_names(faces, recogniser, tmp_path):
    (tmp_path / "other").mkdir()
    for k, face in enumerate(sorted(faces.iterdir())[:3]):
        (tmp_path / "other" / f"{k + 1:02d}.png").write_bytes(face.read_bytes())  # each under the name of the next
    outputs = (f"same={faces}", tmp_path / "other")
    flags = (
        "--sources",
        faces,
        "--outputs",
        *outputs,
        "--baselines",
        "--num_images",
        3,
        "--skip",
        0,
        "--recogniser",
        recogniser,
    )
    head, rows = measured(*flags, cwd=tmp_path)
    assert head.startswith("| method | photographs | identity (id_colour) | perceptual (")
    assert rows["same"] == ["3", "1.0000", "0.0000", "0.0000", "0.0000"]
    other = rows[str(tmp_path / "other")]
    assert other[0] == "2"
    assert min(map(float, other[2:])) > 0.01
    errors = {name: float(cells[-1]) for name, cells in rows.items()}  # mean squared errors at 64 px
    assert errors["reduced to 64 px"] == 0
    bicubic = [errors[f"bicubic enlargement by {factor}"] for factor in (2, 4, 8)]
    assert sorted(bicubic) == bicubic
    assert errors["portraits64_inversion"] < errors["mean fill of the hole"] < errors["mean face"]


def test_edits_are_measured_with_features_and_in_w_plus(faces, recogniser, tmp_path, own_cache):
    labels = ("--attribute_data", faces, "--attribute_labels", faces.parent / "labels.csv")
    flags = ("--sources", faces, "--edits", "yaw=-3", "smile=0.01", "--damping", 0, 2, "--num_images", 4)
    more = ("--w_plus_moves", "--attribute_region", "mouth", "--refine", 2)
    head, rows = measured(*flags, *more, *labels, "--recogniser", recogniser, cwd=tmp_path)
    names = ("features, k = 0", "features, k = 2", "moves of w_plus, k = 0", "moves of w_plus, k = 2", "W+ alone")
    assert head == f"| edit | {' | '.join(names)} |"
    assert list(rows) == ["yaw=-3", "smile=0.01"]
    cell = re.compile(r"([\d.]+) / ([\d.]+) / ([\d.]+|nan) \((\d)\)")
    cells_of = {edit: [cell.fullmatch(text).groups() for text in cells] for edit, cells in rows.items()}
    assert {float(value) for identity, kept, _, _ in cells_of["smile=0.01"] for value in (identity, kept)} == {1.0}
    assert all(share in ("nan", "0.00") for _, _, share, _ in cells_of["smile=0.01"])


def test_the_nearest_photograph_of_samples_and_photographs(faces, recogniser, tmp_path):
    head, rows = measured("--sources", faces, "--copies", 3, "--recogniser", recogniser, cwd=tmp_path)
    assert "identity (id_colour) with the nearest, mean" in head
    assert rows["samples"][0] == "3"
    assert rows["photographs"][0] == "2"  # of 24
    for _, mean, most, below in rows.values():
        assert 0 < float(mean) <= float(most) <= 1
        assert below == "0.00"  # the mean colours of all faces are similar


def test_mistakes_are_named(faces, tmp_path):
    with pytest.raises(UserError, match="nothing to measure"):
        people.People(faces)
    with pytest.raises(UserError, match="one direction a word"):
        people.People(faces, edits=["smile=1,yaw=1"])
    (tmp_path / "not.ts").write_text("text")
    with pytest.raises(UserError, match="not a TorchScript file"):
        people.Recogniser(tmp_path / "not.ts")
    with pytest.raises(UserError, match="no output has the name"):
        people.fidelity(None, {"a": None}, {"b": None})
