import pytest
import torch

from psp import loading
from psp.encoders import ENCODERS
from psp.loading import model_metadata
from psp.model import PSp
from psp.pretrained_files import PRETRAINED
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint, weights
from stylegan2.runtime.errors import CheckpointError, UserError


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    generator = GENERATORS.build(
        "stylegan2", 32, z_dim=16, w_dim=16, channel_base=512, channel_max=16, mapping_layers=2
    )
    encoder = ENCODERS.build("light", num_ws=8, w_dim=16, input_size=32)
    return PSp(encoder, generator, torch.randn(8, 16)).eval()


@pytest.fixture
def path(model, tmp_path):
    path = checkpoint.checkpoint_path(tmp_path / "run", "iteration", 20)
    checkpoint.save(
        path, model.state_dict() | {"optimizer.x": torch.ones(2)}, model_metadata(model) | {"task": "inversion"}
    )
    return path


def rewrite(path, change):
    tensors, metadata = checkpoint.read(path)
    change(tensors, metadata)
    checkpoint.save(path, tensors, metadata)


def test_round_trip(model, path):
    images = torch.randn(2, 3, 32, 32)
    state = torch.random.get_rng_state()
    loaded, metadata = loading.load(path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not loaded.training
    assert metadata["task"] == "inversion"
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


def test_a_folder_gives_its_newest_intact_checkpoint(model, path, capsys):
    newer = checkpoint.checkpoint_path(path.parents[1], "iteration", 30)
    checkpoint.save(newer, model.state_dict(), model_metadata(model) | {"cur_step": 30})
    assert loading.load(path.parents[1])[1]["cur_step"] == 30
    newer.write_bytes(newer.read_bytes()[:-100])
    assert loading.load(str(path.parents[1]))[1]["task"] == "inversion"
    assert newer.name in capsys.readouterr().out


def test_a_shipped_model_is_found_by_name(path, monkeypatch):
    entry = weights.PretrainedFile(
        "tiny", path.name, "a model", "shipped:psp", None, "MIT", "install it again", "train one", "pSp model"
    )
    monkeypatch.setitem(PRETRAINED.entries, "tiny", entry)
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(path.parent))
    assert loading.load("tiny")[1]["task"] == "inversion"


@pytest.mark.parametrize("name", ["nothing.safetensors", "no-such-model", "dlib_resnet"])
def test_what_is_not_there_is_said(name):
    with pytest.raises(UserError, match=f"no pSp model '{name}'"):
        loading.load(name)


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(UserError, match="no checkpoint in the folder"):
        loading.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, m: t.pop("encoder.latlayer1.bias"), "1 missing: latlayer1.bias"),
        (lambda t, m: t.update({"generator.stray": torch.ones(1)}), "1 extra: stray"),
        (lambda t, m: t.pop("latent_avg"), "latent_avg is missing"),
        (lambda t, m: m["encoder"].update(name="unheard"), "its encoder is called 'unheard'"),
        (lambda t, m: m["encoder"].update(colour=1), "this version of the package cannot build its encoder"),
        (lambda t, m: m["encoder"].update(num_ws=10), "missing: styles.8"),
        (lambda t, m: m.update(kind="generator"), "a checkpoint of 'generator', not of a pSp model"),
        (lambda t, m: m.pop("generator"), "do not contain the name of its generator"),
    ],
)
def test_what_does_not_fit_is_named(path, change, words):
    rewrite(path, change)
    with pytest.raises(CheckpointError, match=words) as caught:
        loading.load(path)
    assert str(path) in str(caught.value)
