"""Files of other projects of which something is missing: one sentence, whatever it is."""

import pytest
import torch

from stylegan2.convert import layout
from stylegan2.convert.nvidia import from_nvidia
from stylegan2.convert.rosinality import from_rosinality
from stylegan2.runtime.errors import CheckpointError, UserError

WIDTHS = {4: 12, 8: 8}  # without its highest resolution nothing is left that could be a smaller generator


@pytest.fixture
def states(foreign):
    rosinality = foreign.rosinality_state(WIDTHS, mapping_layers=2)
    nvidia = foreign.nvidia_state(rosinality, torch.zeros(foreign.STYLE_DIM))
    return {"rosinality": (from_rosinality, rosinality), "nvidia": (from_nvidia, nvidia)}


def ways(keys):
    """Every way to take one tensor away, and every way to take all that have a word of their names in common."""
    words = sorted({word for key in keys for word in key.split(".")})
    return [{key} for key in keys] + [{key for key in keys if word in key.split(".")} for word in words]


def optional(way):
    """What the readers fill in or do not need; without its last layer it is a mapping network all the same."""
    ignored = (".kernel", "resample_filter", "w_avg")
    return all(key.startswith(("noises.", "mapping.fc1.", "style.2.")) or key.endswith(ignored) for key in way)


def refusal(read, state):
    try:
        read(state)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("name", ["rosinality", "nvidia"])
def test_whatever_is_missing_is_said_in_one_sentence(states, monkeypatch, name):
    monkeypatch.setattr(layout, "W_AVG_SAMPLES", layout.CHUNK)
    read, state = states[name]
    for way in ways(state):
        sentence = refusal(read, {key: value for key, value in state.items() if key not in way})
        assert optional(way) if sentence is None else "\n" not in sentence, way


@pytest.mark.parametrize(
    ("name", "prefix", "words"),
    [
        ("rosinality", "style.", "2 tensors are missing: 'style.1.weight', 'style.1.bias'"),
        ("rosinality", "to_rgb1.", "4 tensors are missing: 'to_rgb1.conv.weight'"),
        ("rosinality", "", "12 tensors are missing: 'input.input', 'style.1.weight'"),
        ("nvidia", "mapping.", "2 tensors are missing: 'mapping.fc0.weight', 'mapping.fc0.bias'"),
        ("nvidia", "", "'synthesis.b4.const' is missing"),
    ],
)
def test_a_missing_part_is_named(states, name, prefix, words):
    read, state = states[name]
    with pytest.raises(CheckpointError, match=words):
        read({key: value for key, value in state.items() if not key.startswith(prefix)})
