"""scripts/directions.py features, as a user runs it on the shipped model and a few labelled faces."""

import csv
from pathlib import Path

import pytest
import torch

from datasets.labelled import face_attributes
from datasets.synthetic import SyntheticFaces
from stylegan2.latents.directions import load_directions
from stylegan2.runtime.images import to_uint8, write_image

FACES = 24


@pytest.fixture
def faces(tmp_path):
    """A folder of faces and, beside it, the CSV file of their attributes."""
    drawn = SyntheticFaces(64)
    (tmp_path / "faces").mkdir()
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "smile", "glasses", "hat"])
        for k in range(FACES):
            write_image(tmp_path / "faces" / f"{k:02d}.png", to_uint8(torch.from_numpy(drawn[k].image)[None])[0])
            attributes = face_attributes(drawn, k)
            rows.writerow([f"{k:02d}.png", int(attributes["smile"]), int(attributes["glasses"]), k % 2])
    return tmp_path


def test_the_file_moves_the_features_of_the_chosen_attributes(script, faces):
    labelled = ("--attribute_data", "faces", "--attribute_labels", "labels.csv", "--device", "cpu")
    command = ("directions.py", "features", *labelled, "--exp_dir", "found", "--attributes")
    code, _, err = script(*command, "glasses")
    assert code == 0, err
    shipped, _ = load_directions("portraits64_directions")
    found, metadata = load_directions(Path("found/features.safetensors"))
    assert (found.names, metadata["generator"]) == (shipped.names, "portraits64")
    assert torch.equal(found.vectors, shipped.vectors)
    assert torch.equal(found.features["smile"], shipped.features["smile"])
    assert not torch.equal(found.features["glasses"], shipped.features["glasses"])
    assert 0 < found.features["glasses"].float().square().mean().sqrt() < 1

    code, _, err = script(*command, "hat", "--overwrite")
    assert code == 2
    assert "'hat' is no known direction" in err
