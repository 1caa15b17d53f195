"""scripts/convert.py as a user runs it, and its results in the other scripts."""

from pathlib import Path

import numpy as np
import pytest
import torch

import psp
import stylegan2
from psp import loading
from psp.convert import to_official
from psp.encoders import ENCODERS
from psp.model import PSp
from stylegan2.convert.lucidrains import tensor_names
from stylegan2.convert.rosinality import to_rosinality
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.images import write_image

NARROW = {"input_size": 32, "widths": (16, 16, 32, 32), "head_width": 16}


def tiny(name="e4e", **settings):
    torch.manual_seed(0)
    generator = GENERATORS.build("stylegan2", 16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2)
    generator.w_avg.normal_()
    return PSp(ENCODERS.build(name, num_ws=6, w_dim=8, **NARROW, **settings), generator).eval()


@pytest.fixture
def published(tmp_path):
    """Write a file in the format of the published code, with narrow layers."""
    torch.save(to_official(tiny()), tmp_path / "published.pt")
    return tmp_path / "published.pt"


def test_verify_says_ok_or_fails(script, published):
    code, out, _ = script("convert.py", "verify", published)
    assert code == 0
    assert all(line.startswith("ok   ") for line in out.splitlines())
    assert "codes: largest difference from the published formula" in out
    content = torch.load(published)
    del content["state_dict"]["encoder.latlayer1.bias"]
    torch.save(content, published)
    code, out, _ = script("convert.py", "verify", published)
    assert code == 1
    assert out.startswith("FAIL ")
    assert "1 missing: latlayer1.bias" in out


def test_inspect(script, published):
    code, out, _ = script("convert.py", "inspect", published)
    assert code == 0
    assert out.startswith("format: encoder4editing, encoder_type Encoder4Editing\n")


def test_to_ours(script, published):
    code, out, _ = script("convert.py", "to", "ours", published, "ours.safetensors")
    assert code == 0
    assert out.splitlines()[-1].startswith("ours.safetensors: ")
    ours, metadata = loading.load("ours.safetensors")
    assert (metadata["source"], metadata["task"]) == ("encoder4editing", "inversion")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(ours(images), tiny()(images))


def test_to_ours_takes_a_generator_alone(script, tmp_path):
    generator = tiny().generator
    torch.save({"g_ema": to_rosinality(generator), "latent_avg": generator.w_avg}, "generator.pt")
    assert script("convert.py", "to", "ours", "generator.pt", "ours.safetensors")[0] == 0
    ws = torch.randn(1, 6, 8)
    with torch.no_grad():
        assert torch.equal(stylegan2.load("ours.safetensors")[0].synthesis(ws), generator.synthesis(ws))


def differences(out):
    return [float(line.split("formula ")[1].split()[0]) for line in out.splitlines() if "largest difference" in line]


def test_to_rosinality_and_back(script, tmp_path):
    generator = GENERATORS.build("stylegan2", 16, 3, 8, 8, 128, 8, 3, mapping_lr_multiplier=0.1)
    generator.w_avg.normal_()
    stylegan2.save_generator("ours.safetensors", generator, {})
    code, out, _ = script("convert.py", "to", "rosinality", "ours.safetensors", "theirs.pt")
    assert code == 0
    assert len(differences(out)) == 3
    assert max(differences(out)) < 1e-4
    assert "change its table of channels to {4: 8, 8: 8, 16: 8}" in out
    assert out.splitlines()[-1].startswith("theirs.pt: ")
    content = torch.load("theirs.pt")
    assert content.keys() == {"g_ema", "latent_avg"}
    assert content["g_ema"]["style.3.bias"].shape == (8,)
    assert script("convert.py", "to", "ours", "theirs.pt", "again.safetensors")[0] == 0
    again, metadata = stylegan2.load("again.safetensors")
    assert metadata["source"] == "rosinality"
    z = torch.randn(2, 8)
    with torch.no_grad():
        torch.testing.assert_close(again(z, 0.7), generator(z, 0.7), rtol=1e-5, atol=1e-5)


def test_to_rosinality_takes_the_generator_of_a_model(script, published):
    assert script("convert.py", "to", "rosinality", published, "generator.pt")[0] == 0
    state = torch.load("generator.pt")["g_ema"]
    expected = to_rosinality(tiny().generator)
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_to_rosinality_refuses_what_it_cannot_hold(script):
    stylegan2.save_generator(
        "ours.safetensors", GENERATORS.build("stylegan2", 16, 3, 8, 8, 128, 8, 2, architecture="residual"), {}
    )
    code, _, err = script("convert.py", "to", "rosinality", "ours.safetensors", "theirs.pt")
    assert code == 2
    assert "this generator cannot be written in rosinality's layout: its architecture is residual, not skip" in err
    assert err.count("\n") == 1
    assert not Path("theirs.pt").exists()


def lucidrains_file(path):
    """Write a file with the names and shapes of lucidrains' project, for 16 px."""
    own = GENERATORS.build("lucidrains", 16, 3, 8, 64, 8, 2)
    names, shapes = tensor_names(3, 2, learned_const=True), own.state_dict()
    state = {theirs.replace(".", "E.", 1): torch.randn(shapes[ours].shape) for ours, theirs in names.items()}
    del state["noise"]
    state = {name: t[:, None] if "to_noise" in name and t.ndim == 1 else t for name, t in state.items()}
    state = {name: t.flatten() if name.endswith("bias") else t for name, t in state.items()}
    state |= {f"GE.blocks.{j}.to_rgb.upsample.1.f": torch.tensor([1.0, 2.0, 1.0]) for j in range(2)}
    torch.save({"GAN": state, "version": "1.9.0"}, path)


def test_lucidrains_to_ours(script):
    lucidrains_file("model_7.pt")
    code, out, _ = script("convert.py", "to", "ours", "model_7.pt", "ours.safetensors")
    assert code == 0
    assert len(differences(out)) == 2
    assert max(differences(out)) < 1e-4
    generator, metadata = stylegan2.load("ours.safetensors")
    assert (metadata["source"], metadata["generator"]["name"]) == ("lucidrains", "lucidrains")
    model = PSp(ENCODERS.build("gradual", num_ws=generator.num_ws, w_dim=generator.w_dim, **NARROW), generator).eval()
    psp.save_model("model.safetensors", model, {"task": "inversion"})
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loading.load("model.safetensors")[0](images), model(images))
    code, out, _ = script("convert.py", "inspect", "model.safetensors")
    assert "generator: 16 px, 3 channels, num_ws 3, mapping of 2 layers, z 8, w 8" in out.splitlines()
    code, _, err = script("convert.py", "to", "rosinality", "ours.safetensors", "theirs.pt")
    assert code == 2
    assert "it is a lucidrains generator, not a stylegan2" in err


def test_nothing_is_written_where_the_formula_gives_something_else(script, monkeypatch):
    lucidrains_file("model_7.pt")
    monkeypatch.setattr("stylegan2.convert.formula.leaky", lambda x: torch.maximum(x, 0.1 * x))
    code, _, err = script("convert.py", "to", "ours", "model_7.pt", "ours.safetensors")
    assert code == 2
    assert "w: largest difference from the published formula" in err
    assert not Path("ours.safetensors").exists()


def test_inspect_generators(script):
    lucidrains_file("model_7.pt")
    generator = GENERATORS.build("stylegan2", 16, 3, 8, 8, 128, 8, 2)
    stylegan2.save_generator("ours.safetensors", generator, {})
    torch.save({"g_ema": to_rosinality(generator)}, "generator.pt")
    for name, first, rows in (
        ("model_7.pt", "format: StyleGAN2 generator (lucidrains)", 3),
        ("generator.pt", "format: StyleGAN2 generator (rosinality)", 6),
        ("ours.safetensors", "format: checkpoint of this package, stylegan2", 6),
    ):
        code, out, _ = script("convert.py", "inspect", name)
        assert code == 0
        assert out.splitlines()[0] == first
        assert f"generator: 16 px, 3 channels, num_ws {rows}, mapping of 2 layers, z 8, w 8" in out
        assert "generator: no tensor is missing or unexpected" in out


def test_to_official_psp_writes_what_the_published_code_can_build(script, monkeypatch, tmp_path):
    psp.save_model("ours.safetensors", tiny(), {"task": "inversion"})
    code, _, err = script("convert.py", "to", "official-psp", "ours.safetensors", "out.pt")
    assert code == 2
    assert "the published code cannot build 'ours.safetensors': the encoder's head_width is 16, not 512; " in err
    assert err.count("\n") == 1
    assert not Path("out.pt").exists()
    monkeypatch.setattr(
        "psp.convert.conversion.export_problems", lambda model: []
    )  # the sizes that it can build are a gigabyte
    assert script("convert.py", "to", "official-psp", "ours.safetensors", "out.pt")[0] == 0
    written, expected = torch.load("out.pt"), to_official(tiny())
    assert written["opts"] == expected["opts"]
    assert written["state_dict"].keys() == expected["state_dict"].keys()
    assert all(torch.equal(value, expected["state_dict"][key]) for key, value in written["state_dict"].items())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "",
            "what to do is one of to official-psp SRC OUT | to rosinality SRC OUT | to ours SRC OUT | inspect FILE | "
            "verify FILE; and none was given",
        ),
        ("to ours published.pt", "not 'to ours published.pt'"),
        ("to theirs published.pt out.pt", "not 'to theirs published.pt out.pt'"),
        ("verify nothing.pt", "there is no file 'nothing.pt'"),
        ("to ours published.pt out.pt", "OUT must end in .safetensors, not 'out.pt'"),
        ("to official-psp published.pt out.bin", "OUT must end in .pt, not 'out.bin'"),
        ("to rosinality published.pt out.pkl", "OUT must end in .pt, not 'out.pkl'"),
        ("to rosinality text.pt out.pt", "'text.pt' is damaged"),
        ("inspect text.pt", "'text.pt' is not a generator"),
        ("to ours text.pt out.safetensors", "'text.pt' is not a generator"),
    ],
)
def test_mistakes_are_one_sentence(script, published, arguments, words):
    Path("text.pt").write_text("hello")
    code, _, err = script("convert.py", *arguments.split())
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


def test_a_published_file_trains_further_and_is_used_in_inference(script, published, tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (4, 1, 1, 3), np.uint8)
    for number, colour in enumerate(colours):
        write_image(tmp_path / "pictures" / f"{number}.png", np.broadcast_to(colour, (40, 40, 3)).copy())
    flags = ["--device", "cpu", "--workers", 0, "--batch_size", 2, "--test_batch_size", 2, "--max_steps", 2]
    flags += ["--perceptual", "effnet", "--identity", "dlib", "--lpips_lambda", 0, "--id_lambda", 0]
    start = ["--checkpoint_path", published, "--data", "pictures", "--exp_dir", "run", *flags]
    code, _, err = script("train_psp.py", *start, "--progressive_start", 0, "--progressive_step_every", 0)
    assert code == 0, err
    model, metadata = loading.load("run")
    assert metadata["encoder"]["name"] == "e4e"
    assert metadata["settings"]["progressive_start"] == 0
    assert model.generator.img_resolution == 16
    before = tiny().encoder.get_parameter("styles.0.linear.weight")
    after = model.encoder.get_parameter("styles.0.linear.weight")
    assert 0 < (after - before).abs().max() < 0.1
    use = ["--checkpoint_path", published, "--data_path", "pictures", "--no_align", "--device", "cpu"]
    code, _, err = script("inference.py", *use, "--exp_dir", "out")
    assert code == 0, err
    assert len(list(Path("out").rglob("*.png"))) >= 4
    code, _, err = script("style_mixing.py", *use, "--exp_dir", "mixed", "--n_outputs", 2, "--latent_mask", "4-5")
    assert code == 0, err
    assert len(list(Path("mixed").rglob("*.png"))) >= 4


def test_an_encoder_of_another_kind_is_not_silently_trained(script, published):
    code, _, err = script("train_psp.py", "--checkpoint_path", published, "--encoder_type", "gradual")
    assert code == 2
    assert "has an encoder e4e, but gradual was requested" in err
