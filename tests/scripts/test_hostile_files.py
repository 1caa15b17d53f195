"""Hostile checkpoints, codes, directions, landmarks and labels give one sentence, with little memory and time."""

import json
import zipfile

import numpy as np
import pytest
import torch

import psp
import stylegan2
from datasets.folder import ImageFiles
from datasets.labels import read_labels
from datasets.tasks import task_of
from options.results import read_config
from psp.convert import inspect
from psp.inference.landmarks import read_landmarks
from psp.perception.segmenter import Segmenter, load_segmenter, save_segmenter
from stylegan2.convert.rosinality import file_content, store
from stylegan2.latents.codes import load_codes
from stylegan2.latents.directions import load_directions
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.images import write_image
from stylegan2.runtime.tensors import module_tensors
from tests.hostile import answer


def forged(path, tensors, text):
    """Write a checkpoint with arbitrary text as metadata and the correct SHA-256."""
    header = checkpoint._header(tensors, text)
    parts = [len(header).to_bytes(8, "little"), header]
    parts += [bytes(checkpoint._bytes(tensors[name])) for name in checkpoint._storage_order(tensors)]
    path.write_bytes(b"".join(parts))
    return path


@pytest.fixture(scope="module")
def generator():
    return GENERATORS.build("stylegan2", 8, z_dim=8, w_dim=8, channel_base=64, channel_max=8, mapping_layers=1)


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory, generator):
    """Import modules here, so that not every child process has to."""
    path = tmp_path_factory.mktemp("warm") / "g.safetensors"
    stylegan2.save_generator(path, generator, {})
    stylegan2.load(path)
    inspect(path)
    task_of({"task": "inversion"}, 3)


def described(generator, **changes):
    settings = {**generator.built_as, **changes}
    return {"kind": "stylegan2", "generator": {k: v for k, v in settings.items() if v is not Ellipsis}}


WRONG = [
    *({"z_dim": value} for value in (2**31, 2**62, 50_000, 16_000, 0, -1, "8", 8.5, None, [8], True, ...)),
    *({"channel_max": value} for value in (16_000, -5, 2**40)),
    *({"channel_base": value} for value in (2**22, 2**40, 0)),
    *({"mapping_layers": value} for value in (10**9, 10**6, 64, -1)),
    *({"img_resolution": value} for value in (2**40, 4096, 1024, 7, -8, 0)),
    *({"num_classes": value} for value in (10**7, 10**9, -1)),
    *({"conv_clamp": value} for value in ("x", -1.0, 1e300, [1.0])),
    *({"mapping_lr_multiplier": value} for value in (0.0, 1e300, None)),
    *({"architecture": value} for value in ("x" * 5000, 5, ["skip"])),
    *({"name": value} for value in (["stylegan2"], {}, 5, "x" * 10_000, "../x", None)),
    *({name: 1} for name in ("colour", "self", "__class__", "a" * 5000)),
]


@pytest.mark.parametrize("changes", WRONG, ids=lambda changes: str(changes)[:40])
def test_generators_that_their_file_does_not_hold(tmp_path, generator, changes):
    tensors = module_tensors("G_ema", generator)
    checkpoint.save(tmp_path / "g.safetensors", tensors, described(generator, **changes))
    assert answer(stylegan2.load, tmp_path / "g.safetensors")
    answer(inspect, tmp_path / "g.safetensors")


METADATA = [
    *("[]", "5", "null", '"x"', "{", "", "[" * 100_000, '{"a": ' * 50_000, '{"kind": ' + "9" * 100_000 + "}", "nan"),
    *('{"kind": ["stylegan2"]}', '{"kind": "stylegan2"}', '{"kind": "stylegan2", "generator": "x"}'),
    *('{"kind": "stylegan2", "generator": [["name", "stylegan2"]]}', '{"kind": "psp", "encoder": [], "generator": 1}'),
    '{"kind": "stylegan2", "generator": {"name": "stylegan2", "img_resolution": NaN}}',
]


@pytest.mark.parametrize("text", METADATA, ids=lambda text: text[:30] or "nothing")
def test_metadata_that_are_something_else(tmp_path, generator, text):
    path = forged(tmp_path / "g.safetensors", module_tensors("G_ema", generator), text)
    for load in (stylegan2.load, psp.load, load_directions, load_segmenter):
        assert answer(load, path)
    answer(inspect, path)


@pytest.mark.parametrize(
    "changes",
    [
        *({"input_size": value} for value in (10**9, 0, "64", None)),
        *({"num_ws": value} for value in (10**9, 63, -1, [6])),
        *({"w_dim": value} for value in (2**31, 12_000)),
        *({"name": value} for value in (["light"], "feature", 5)),
        {"input_channels": 256},
    ],
    ids=str,
)
def test_encoders_that_their_file_does_not_hold(tmp_path, build_model, changes):
    model = build_model()
    metadata = psp.loading.model_metadata(model)
    tensors = psp.loading.model_tensors(model)
    checkpoint.save(tmp_path / "m.safetensors", tensors, {**metadata, "encoder": {**metadata["encoder"], **changes}})
    assert answer(psp.load, tmp_path / "m.safetensors")
    answer(inspect, tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "metadata",
    [
        {"task": ["inversion"]},
        {"task": "no task"},
        {"task": "segmentation", "task_settings": {"label_nc": 10**9}},
        {"task": "segmentation", "task_settings": {"label_nc": "19"}},
        {"task": "segmentation", "task_settings": [1]},
        {"task": "super_resolution", "task_settings": {"resize_factors": [-1]}},
        {"task": "inversion", "task_settings": {"x": 1}},
    ],
    ids=str,
)
def test_tasks_of_other_types(metadata):
    assert answer(task_of, metadata, 3)


def test_a_path_in_a_checkpoint_is_not_opened():
    task = task_of({"task": "inpainting", "task_settings": {"mask_data": "/etc"}}, 4)
    assert task.mask_data is None


def test_weights_that_are_not_finite(tmp_path, generator):
    tensors = module_tensors("G_ema", generator)
    tensors["G_ema.synthesis.const"] = torch.full_like(tensors["G_ema.synthesis.const"], torch.nan)
    checkpoint.save(tmp_path / "g.safetensors", tensors, described(generator))
    assert "not finite" in answer(stylegan2.load, tmp_path / "g.safetensors")


def foreign(generator):
    return file_content(store(generator))


def test_foreign_generators_that_are_wrong(tmp_path, generator):
    whole = foreign(generator)
    name, tensor = next((n, t) for n, t in whole["g_ema"].items() if t.ndim == 2)
    changes = [
        {name: torch.zeros(())},
        {name: torch.zeros(0, 0)},
        {name: tensor.long()},
        {name: torch.full_like(tensor, torch.inf)},
        {f"convs.{k}.conv.weight": torch.zeros(1) for k in range(11_000)},
        {f"style.{k}.weight": torch.zeros(1) for k in range(400)},
        {"convs." + "9" * 5000 + ".conv.weight": torch.zeros(1)},
        {5: torch.zeros(1)},
        {"to_rgbs.0.bias": "text"},
    ]
    for change in changes:
        torch.save({**whole, "g_ema": {**whole["g_ema"], **change}}, tmp_path / "g.pt")
        assert answer(stylegan2.load, tmp_path / "g.pt") or list(change) == [5] or change[name].dtype == torch.int64
        answer(inspect, tmp_path / "g.pt")
        torch.save({"state_dict": {f"decoder.{k}": v for k, v in change.items()}, "opts": [1]}, tmp_path / "p.pt")
        assert answer(psp.load, tmp_path / "p.pt")
        answer(inspect, tmp_path / "p.pt")


def test_segmenters(tmp_path):
    save_segmenter(tmp_path / "s.safetensors", Segmenter(4, 16, (4, 8)), {})
    tensors, metadata = checkpoint.read(tmp_path / "s.safetensors")
    assert load_segmenter(tmp_path / "s.safetensors").label_nc == 4
    for change in ({"label_nc": 10**9}, {"widths": [4096] * 60}, {"widths": 5}, {"resolution": -1}, {"x": 1}):
        changed = {**metadata, "segmenter": {**metadata["segmenter"], **change}}
        checkpoint.save(tmp_path / "s.safetensors", tensors, changed)
        assert answer(load_segmenter, tmp_path / "s.safetensors")


def test_directions(tmp_path):
    path = tmp_path / "d.safetensors"
    tensors = {"vectors": torch.eye(2, 8), "scales": torch.ones(2)}
    about = {"kind": "directions", "names": ["a", "b"], "rows": [0, 1]}
    wrong = [
        *({"names": value} for value in (None, 5, ["a"], ["a", 5], ["a", "a"], ["a", "b" * 10**5], [], {"a": 1})),
        *({"rows": value} for value in (None, [], [-1], [10**9], ["0"], [True], 3, list(range(1000)))),
        *({key: value} for key in ("fingerprint", "fingerprints") for value in (5, [5])),
    ]
    for change in wrong:
        checkpoint.save(path, tensors, {**about, **change})
        assert answer(load_directions, path), change
    for change in (torch.zeros(8), torch.zeros(()), torch.full((2, 8), torch.nan), torch.zeros(2, 8).long()):
        checkpoint.save(path, {**tensors, "vectors": change}, about)
        assert answer(load_directions, path)
    checkpoint.save(path, {"vectors": tensors["vectors"]}, about)
    assert answer(load_directions, path)
    checkpoint.save(path, tensors, about)
    assert answer(load_directions, path) == ""


def test_codes(tmp_path):
    path = tmp_path / "c.npz"
    for names, w_plus, features in (
        (np.array(["a"]), np.zeros((1, 6, 8)), np.full((1, 1, 1, 1), np.inf)),
        (np.array(["a"]), np.zeros((1, 6, 8), complex), None),
        (np.array([["a"]]), np.zeros((1, 6, 8)), None),
        (np.array([1]), np.zeros((1, 6, 8)), None),
        (np.array("a"), np.zeros((1, 6, 8)), None),
        (np.array(["a" * 100_000]), np.zeros((1, 6, 8)), None),
        (np.array([b"a"]), np.zeros((1, 6, 8)), None),
    ):
        np.savez(path, names=names, w_plus=w_plus, **({} if features is None else {"features": features}))
        assert answer(load_codes, path, 6, 8)


@pytest.mark.parametrize(
    "content",
    [
        '{"a.png": [1e308, 1e308, 1.5e308, 1.5e308]}',
        '{"a.png": [0, 0, 1e400, 5]}',
        '{"a.png": ' + json.dumps([[0, 0, 5, 5]] * 20_000) + "}",
        '{"a.png": {"x": 1}}',
        '{"a.png": null}',
        '{"a.png": [[[[1]]]]}',
        '{"a.png": [true, "x", [], {}]}',
        '{"a.png": ' + "[" * 100_000,
        '{"a.png": [' + "9" * 5000 + ", 1, 2, 3]}",
        "[1]",
        '"x"',
    ],
    ids=lambda text: text[:40],
)
def test_landmarks(tmp_path, content):
    (tmp_path / "l.json").write_text(content)
    assert answer(read_landmarks, tmp_path / "l.json")
    (tmp_path / "l.csv").write_text(content)
    answer(read_landmarks, tmp_path / "l.csv")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 200_000,
        '{"labels": ' + "[" * 200_000,
        '{"labels": [["0.png", ' + "9" * 5000 + "]]}",
        '{"labels": [["0.png", 1e400]]}',
        '{"labels": [["0.png", {"a": 1}]]}',
        '{"labels": [[5, 1]]}',
        '{"labels": 5}',
        '{"labels": [["0.png"]]}',
        "5",
        "",
    ],
    ids=lambda text: text[:40],
)
def test_labels(tmp_path, content):
    (tmp_path / "l.json").write_text(content)
    assert answer(read_labels, str(tmp_path / "l.json"), ["0.png", "1.png"])
    (tmp_path / "d").mkdir()

    write_image(tmp_path / "d" / "0.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "d" / "dataset.json").write_text(content)
    assert answer(lambda: ImageFiles(tmp_path / "d").labels())


def test_a_dataset_json_that_unpacks_to_gigabytes(tmp_path):
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", b"\x89PNG\r\n\x1a\n")
        with archive.open("dataset.json", "w", force_zip64=True) as member:
            for _ in range(40):
                member.write(b" " * 2**24)
    assert answer(lambda: ImageFiles(tmp_path / "d.zip").labels())


def test_numbers_of_thousands_of_digits_are_names_of_classes(tmp_path):
    (tmp_path / "l.csv").write_text(f"0.png,{'1' * 6000}\n1.png,2\n")
    labels = read_labels(str(tmp_path / "l.csv"), ["0.png", "1.png"])
    assert len(labels["0.png"]) == 6000


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "a: &a {k: [1, 2]}\n" + "\n".join(f"b{k}: {{<<: [*a, *a]}}" for k in range(10)),
        "a0: &a0 [1]\n" + "\n".join(f"a{k + 1}: &a{k + 1} [*a{k}, *a{k}]" for k in range(60)),
        "a: &a [*a]",
        "- 1",
        "!!python/object/apply:os.abort []",
        "a: !!binary x",
    ],
    ids=lambda text: text[:20],
)
def test_files_of_settings(tmp_path, content):
    (tmp_path / "c.yaml").write_text(content)
    assert answer(read_config, tmp_path / "c.yaml")
