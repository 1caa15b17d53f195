"""What is said about the generator in each kind of file, whole or damaged."""

import numpy as np
import pytest
import torch

from stylegan2 import convert, save_generator
from stylegan2.convert.inspection import lines_of_checkpoint, lines_of_file
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.errors import CheckpointError

WIDTHS = "generator: widths 4: 12, 8: 12, 16: 8, 32: 4"
SIZES = "generator: 32 px, 3 channels, num_ws 8, mapping of 2 layers, z 16, w 16"
WHOLE = "generator: no tensor is missing or unexpected"


def opened(path, content):
    torch.save(content, path)
    return convert.open_foreign(path)


def test_rosinality(foreign, tmp_path):
    state = foreign.rosinality_state(mapping_layers=2)
    lines = lines_of_file(opened(tmp_path / "m.pt", {"g_ema": state, "latent_avg": torch.zeros(16)}))
    assert lines[:4] == ["format: StyleGAN2 generator (rosinality)", SIZES, WIDTHS, WHOLE]
    assert lines[4].startswith(f"tensors: {len(state) + 1}, ")
    del state["convs.2.activate.bias"], state["style.1.weight"], state["to_rgb1.bias"]
    lines = lines_of_file(opened(tmp_path / "m.pt", {"g_ema": state | {"odd": torch.zeros(1)}}))
    assert lines[1] == "generator: 32 px, ? channels, num_ws 8, mapping of 2 layers, z ?, w ?"
    assert lines[2] == "generator: widths 4: 12, 8: 12, 16: ?, 32: 4"
    assert "generator: 3 tensors missing: style.1.weight, convs.2.activate.bias, to_rgb1.bias" in lines
    assert "generator: 1 tensors unexpected: odd" in lines
    assert any(line.startswith("mean of W: not in the file") for line in lines)
    bare = {name: tensor for name, tensor in state.items() if not name.startswith("noises.")}
    lines = lines_of_file(opened(tmp_path / "m.pt", {"g_ema": bare}))
    assert any(line.startswith("noise maps: not in the file") for line in lines)
    assert not any("noises.noise_0" in line for line in lines)
    lines_of_file(opened(tmp_path / "m.pt", {"g_ema": {}}))


def test_nvidia(foreign, tmp_path):
    state = foreign.nvidia_state(foreign.rosinality_state(mapping_layers=2), torch.zeros(16))
    lines = lines_of_file(convert.open_foreign(foreign.nvidia_pickle(tmp_path / "n.pkl", state)))
    assert lines[:4] == ["format: NVIDIA pickle", SIZES, WIDTHS, WHOLE]
    assert "architecture: skip, conv_clamp 256" in lines
    del state["synthesis.b16.conv1.noise_const"], state["mapping.w_avg"]
    lines = lines_of_file(convert.open_foreign(foreign.nvidia_pickle(tmp_path / "n.pkl", state)))
    assert "generator: 1 tensors missing: synthesis.b16.conv1.noise_const" in lines
    assert any(line.startswith("mean of W: not in the file") for line in lines)
    state |= {"mapping.embed.weight": torch.zeros(16, 5), "mapping.fc0.weight": torch.zeros(16, 24)}
    lines = lines_of_file(convert.open_foreign(foreign.nvidia_pickle(tmp_path / "n.pkl", state)))
    assert "generator: 32 px, 3 channels, num_ws 8, mapping of 2 layers, z 8, w 16" in lines
    assert "classes: 5" in lines
    assert any("mapping.embed.bias" in line for line in lines)


def test_lucidrains(foreign, tmp_path):
    content = foreign.lucidrains_content(capacity=2)
    lines = lines_of_file(opened(tmp_path / "m.pt", content))
    assert lines[0] == "format: StyleGAN2 generator (lucidrains)"
    assert lines[1] == "generator: 32 px, 3 channels, num_ws 4, mapping of 2 layers, z 16, w 16"
    assert lines[2:4] == ["generator: widths 4: 32, 8: 16, 16: 8, 32: 4", WHOLE]
    assert "weights: averaged (SE and GE)" in lines
    assert "lr_mlp: not in the file; 0.1 is used" in lines
    (tmp_path / ".config.json").write_text('{"lr_mlp": 0.01}')
    del content["GAN"]["GE.blocks.1.to_style2.bias"]
    lines = lines_of_file(opened(tmp_path / "m.pt", content))
    assert "lr_mlp: 0.01, from .config.json" in lines
    assert "generator: 1 tensors missing: GE.blocks.1.to_style2.bias" in lines
    content["GAN"]["GE.attns.0.0.fn.norm.g"] = torch.zeros(1)
    lines = lines_of_file(opened(tmp_path / "m.pt", content))
    assert any(line.startswith("not read: its generator has attention layers") for line in lines)


def stylegan3_tensors():
    """Names and kinds of a stylegan3-t's synthesis network, narrow."""
    state = {
        "synthesis.input.weight": torch.zeros(8, 8),
        "synthesis.input.affine.weight": torch.zeros(4, 16),
        "synthesis.input.affine.bias": torch.zeros(4),
        "synthesis.input.transform": torch.eye(3),
        "synthesis.input.freqs": torch.zeros(8, 2),
        "synthesis.input.phases": torch.zeros(8),
        "mapping.fc0.weight": torch.zeros(16, 16),
        "mapping.fc0.bias": torch.zeros(16),
        "mapping.w_avg": torch.zeros(16),
    }
    for name in ("L0_36_8", "L14_256_3"):
        layer = f"synthesis.{name}"
        state |= {f"{layer}.weight": torch.zeros(8, 8, 3, 3), f"{layer}.bias": torch.zeros(8)}
        state |= {f"{layer}.affine.weight": torch.zeros(8, 16), f"{layer}.affine.bias": torch.zeros(8)}
        state |= {f"{layer}.up_filter": torch.zeros(12), f"{layer}.magnitude_ema": torch.ones([])}
    return state


@pytest.mark.parametrize("protocol", [3, 4])
def test_stylegan3_is_named(foreign, tmp_path, protocol):
    """Its layers have arrays among their attributes, which no StyleGAN2 has."""
    attributes = {
        "synthesis.input.size": np.broadcast_to(np.asarray(36), [2]),
        "synthesis.L0_36_8.in_size": np.broadcast_to(np.asarray(36), [2]),
        "synthesis.L0_36_8.in_sampling_rate": np.float64(16),
        "synthesis.L0_36_8.padding": [5, 4, 5, 4],
        "c_dim": 0,
    }
    path = foreign.nvidia_pickle(tmp_path / "stylegan3-t.pkl", stylegan3_tensors(), attributes, protocol)
    with pytest.raises(
        CheckpointError, match=r"stylegan3-t\.pkl': it is a StyleGAN3 generator \(stylegan3-t or -r\)"
    ) as e:
        convert.load_foreign(path)
    assert "\n" not in str(e.value)
    lines = lines_of_file(convert.open_foreign(path))
    assert any(line.startswith("not read: it is a StyleGAN3 generator") for line in lines)


def test_ours(tmp_path):
    for generator, line in (
        (
            GENERATORS.build("stylegan2", 16, 1, 6, 8, 64, 9, 3),
            "generator: 16 px, 1 channels, num_ws 6, mapping of 3 layers, z 6, w 8",
        ),
        (
            GENERATORS.build("lucidrains", 16, 3, 8, 64, 9, 3),
            "generator: 16 px, 3 channels, num_ws 3, mapping of 3 layers, z 8, w 8",
        ),
    ):
        save_generator(tmp_path / "g.safetensors", generator, {})
        tensors, metadata = checkpoint.read(tmp_path / "g.safetensors")
        lines = lines_of_checkpoint(metadata, tensors, "G_ema")
        assert lines == [line, "generator: widths 4: 9, 8: 8, 16: 4", WHOLE]
        del tensors["G_ema.synthesis.const"]
        lines = lines_of_checkpoint(metadata, tensors, "G_ema")
        assert lines[2] == "generator: 1 tensors missing: synthesis.const"
