"""Identity: people are told apart, and each network takes its own file alone."""

import warnings

import numpy as np
import pytest
import torch
from facenet_pytorch import InceptionResnetV1
from PIL import Image

from psp.losses.identity import Identity, identity_network
from psp.perception.arcface import ArcFace, load_arcface
from psp.perception.crop import crop_resize
from psp.perception.facenet import CHIP, load_facenet
from stylegan2.runtime import weights
from stylegan2.runtime.distributed import print_once
from stylegan2.runtime.errors import CheckpointError, UserError

PEOPLE = 8


@pytest.fixture(scope="module")
def loss():
    return Identity("dlib")


@pytest.fixture(scope="module")
def arcface_file(module_path):
    """A file in the layout of model_ir_se50.pth, with random weights and statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tensors = ArcFace().state_dict()
        for key, value in tensors.items():
            if key.endswith(("running_mean", "running_var")):
                value.uniform_(0.5, 1.5)
    path = module_path / "model_ir_se50.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture(scope="module")
def london(photos):
    """Two photographs each of some people, neutral and smiling: [2, PEOPLE, 3, 128, 128] in [-1, 1]."""
    neutral = sorted((photos / "faces128" / "london").glob("*_neutral.jpg"))[:PEOPLE]
    smiling = [path.with_name(path.name.replace("neutral", "smiling")) for path in neutral]
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in [*neutral, *smiling]]
    images = torch.tensor(np.stack(arrays)).permute(0, 3, 1, 2) / 127.5 - 1
    return images.unflatten(0, (2, PEOPLE))


def test_one_person_twice_is_nearer_than_two_people(loss, london):
    neutral, smiling = (loss.network.embed(images) for images in london)  # [PEOPLE, 128] each
    a, b = neutral.repeat_interleave(PEOPLE, 0), smiling.repeat(PEOPLE, 1)
    table = loss.network.similarity(a, b).view(PEOPLE, PEOPLE)
    same = table.diagonal()
    different = table[~torch.eye(PEOPLE, dtype=torch.bool)]
    assert same.min() > 0.7
    assert same.min() > different.max()
    assert different.mean() < 0.35  # without the mean embedding it is above 0.8


def test_the_loss_is_one_minus_the_similarity(loss, london):
    neutral, smiling = london
    values = loss(neutral, smiling)
    assert values.shape == (PEOPLE,)
    similarity = loss.network.similarity(loss.network.embed(neutral), loss.network.embed(smiling))
    torch.testing.assert_close(values, 1 - similarity)
    torch.testing.assert_close(loss(neutral, neutral), torch.zeros(PEOPLE), atol=1e-5, rtol=0)


def test_small_images_are_warned_about_once():
    loss = Identity("dlib")
    images = torch.rand(1, 3, 32, 32)
    with pytest.warns(UserWarning, match="32 px images, but people are recognised less well below 64 px") as caught:
        loss(images, images)
    assert "\n" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(images, images)
        Identity("dlib")(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))


def test_auto_says_what_it_takes(no_downloads, arcface_file, capsys):
    print_once.cache_clear()
    assert Identity().name == Identity().name == "id_dlib"
    assert capsys.readouterr().out == "identity network: dlib, because no model_ir_se50.pth was given for arcface\n"
    assert Identity(path=arcface_file).name == "id_arcface"
    assert capsys.readouterr().out == "identity network: arcface\n"


def test_auto_finds_arcface_in_the_folder_of_the_user(no_downloads, arcface_file, monkeypatch):
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(arcface_file.parent))
    assert identity_network().name == "arcface"


def test_an_unknown_network_is_refused():
    with pytest.raises(UserError, match="auto, arcface, dlib, facenet"):
        Identity("curricularface")


@pytest.mark.parametrize("network", ["arcface", "facenet"])
def test_a_missing_file_is_one_sentence(network, no_downloads):
    with pytest.raises(UserError, match=r"is not on this machine: .* or use the identity network dlib"):
        Identity(network)


def test_arcface_has_the_published_layout(arcface_file):
    tensors = torch.load(arcface_file, weights_only=True)
    assert len(tensors) == 397
    assert sum(value.numel() for key, value in tensors.items() if "num_batches" not in key) == pytest.approx(
        43.8e6, rel=0.01
    )
    assert tensors["output_layer.3.weight"].shape == (512, 25088)
    assert tensors["output_layer.4.weight"].shape == (512,)
    assert tensors["body.3.shortcut_layer.0.weight"].shape == (128, 64, 1, 1)


def test_arcface_from_several_gpus_is_the_same(arcface_file, tmp_path):
    tensors = torch.load(arcface_file, weights_only=True)
    torch.save({"state_dict": {f"module.{key}": value for key, value in tensors.items()}}, tmp_path / "wrapped.pth")
    expected, found = (load_arcface(path).state_dict() for path in (arcface_file, tmp_path / "wrapped.pth"))
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_arcface_cuts_the_face_as_the_paper_does(arcface_file, monkeypatch):
    network = load_arcface(arcface_file)
    images = torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8) * 2 - 1, size=(256, 256), mode="bicubic")
    chips = torch.nn.functional.adaptive_avg_pool2d(images[:, :, 35:223, 32:220], 112)
    embedding = network.embed(images)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(network.similarity(embedding, embedding), torch.ones(2))
    monkeypatch.setattr(network, "forward", lambda seen: seen)
    torch.testing.assert_close(network.embed(images), chips, atol=0.05, rtol=0)


def test_arcface_takes_no_other_file(arcface_file, tmp_path):
    tensors = torch.load(arcface_file, weights_only=True)
    stem = {key: value for key, value in tensors.items() if key.startswith("input_layer")}
    torch.save(stem | {"classifier": torch.zeros(3)}, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=r"missing: body\.0\..* 1 extra: classifier"):
        load_arcface(tmp_path / "file.pth")


def test_facenet_equals_its_package(tmp_path):
    reference = InceptionResnetV1().eval()
    tensors = reference.state_dict() | {"logits.weight": torch.zeros(5, 512), "logits.bias": torch.zeros(5)}
    torch.save(tensors, tmp_path / "file.pt")
    network = load_facenet(tmp_path / "file.pt")
    images = torch.rand(2, 3, 128, 128) * 2 - 1
    pixels = (crop_resize(images, CHIP, 160, 160) + 1) * 127.5
    torch.testing.assert_close(network.embed(images), reference((pixels - 127.5) / 128), atol=1e-5, rtol=1e-4)
    torch.save({key: value for key, value in tensors.items() if key != "last_bn.bias"}, tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=r"missing: last_bn\.bias"):
        load_facenet(tmp_path / "file.pt")
