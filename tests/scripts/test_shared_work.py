"""Several processes that share work give the results of one, also if a process is killed."""

import json
import shutil
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import psp
from datasets.prepare import prepare_faces
from datasets.synthetic import SyntheticFaces
from options.parse import parse
from psp.inference.aligned_folder import PARTS, Aligner, GivenFaces, align_folder, summarize
from scripts import align_faces, evaluate, inference, prepare_data
from stylegan2.runtime import images
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import hold_folder
from tests.groups import finish, in_group, kill_one, torchrun

FIVE = np.array([[90.0, 105.0], [120.0, 102.0], [106.0, 120.0], [95.0, 135.0], [118.0, 134.0]])
NEEDS_PROC = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes to kill in /proc")


def write_photos(folder, count, size=(210, 240)):
    """Write different photos without faces."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = Image.fromarray(rng.integers(0, 255, (8, 7, 3), dtype=np.uint8))
        pixels.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:04d}.png", compress_level=1)
    return folder


def contents(folder):
    """Return {name: bytes} of the results of a run, without times and settings of the machine."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "config.yaml"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def differing(one, other):
    """Return the names of the files that differ between two folders."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def run_alone(script, settings, *words):
    """Run a script's main in this process, and check that it succeeds."""
    assert not script.main(parse(settings, args=list(map(str, words))))


# --- alignment ---


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos") / "in", 23)


def align(photos, out, group=None, wrong=("0007.png",)):
    """Align all photos but one by given landmarks."""
    files = sorted(photos.iterdir())
    given = {file.name: [FIVE + (10_000 if file.name in wrong else n)] for n, file in enumerate(files)}
    return align_folder(files, Aligner(photos, 32, GivenFaces(given)), out, 2, group)


def test_a_group_aligns_as_one_process_does(photos, tmp_path):
    one = align(photos, tmp_path / "one")
    summaries = in_group(4, lambda group: align(photos, tmp_path / "four", group))
    assert summaries[1:] == [None] * 3
    assert summaries[0] == one
    assert one.failures == ["bad_landmarks: 0007.png: the face is outside of the picture"]
    assert differing(contents(tmp_path / "one"), contents(tmp_path / "four")) == []
    assert len(contents(tmp_path / "one")) == 23  # 22 pictures and the manifest


class Dying(Aligner):
    """Aligns two photos and ends with the third, as a killed process does; with `dies` false it waits for that."""

    dead = threading.Event()

    def __init__(self, dies, *arguments):
        super().__init__(*arguments)
        self.dies, self.left = dies, 2

    def __call__(self, file):
        self.left -= self.dies
        if self.left < 0:
            self.dead.set()
            raise SystemError
        return super().__call__(file) if self.dies or self.dead.wait(20) else None


def test_what_a_lost_process_left_is_done_by_the_next_run(photos, tmp_path, capsys):
    """The other processes continue, and the next run processes the photos that the lost process had taken."""
    files, out = sorted(photos.iterdir()), tmp_path / "out"
    given = GivenFaces({file.name: [FIVE + n] for n, file in enumerate(files)})

    def work(group):
        aligner = Dying(group.rank == 1, photos, 32, given)
        if group.rank != 1:
            return align_folder(files, aligner, out, 2, group)
        with pytest.raises(SystemError):
            align_folder(files, aligner, out, 1, group)

    summary = in_group(3, work, timeout=1.0)[0]
    assert summary.lost == [1]
    assert 1 <= summary.missing <= 4  # what it had taken ahead
    with pytest.raises(UserError, match=f"process 1 was lost, and {summary.missing} photos are missing: run the same"):
        summarize(summary, out)
    capsys.readouterr()
    (out / ".partial-0123").write_bytes(b"half of a picture")
    assert align_folder(files, Aligner(photos, 32, given), out, 1).missing == 0
    assert f"{23 - summary.missing} of 23 photos are aligned already" in capsys.readouterr().out
    align_folder(files, Aligner(photos, 32, given), tmp_path / "one", 1)
    assert differing(contents(tmp_path / "one"), contents(out)) == []


@NEEDS_PROC
@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_a_killed_alignment_goes_on(tmp_path, size):
    photos = write_photos(tmp_path / "in", 300)
    landmarks = tmp_path / "given.json"
    landmarks.write_text(json.dumps({path.name: (FIVE + n % 50).tolist() for n, path in enumerate(photos.iterdir())}))
    flags = ["--data_path", photos, "--landmarks", landmarks, "--output_size", 64, "--workers", 1]
    out = tmp_path / "out"
    launcher = torchrun(size, "align_faces.py", *flags, "--exp_dir", out)
    assert kill_one(launcher, lambda: len(list(out.glob("*.png"))) > 20) == size
    code, _ = finish(launcher)
    assert code != 0
    before = len(list(out.glob("*.png")))
    assert 20 < before < 300
    code, printed = finish(torchrun(size, "align_faces.py", *flags, "--exp_dir", out))
    assert code == 0, printed
    (line,) = (line for line in printed.splitlines() if "aligned already" in line)
    assert before - 2 * size <= int(line.split()[0]) <= before  # a picture was written before its entry is
    assert "300 of 300 photos gave 300 aligned faces" in printed
    assert not (out / PARTS).exists()
    run_alone(align_faces, align_faces.AlignFaces, *flags, "--exp_dir", tmp_path / "one")
    assert differing(contents(tmp_path / "one"), contents(out)) == []
    shutil.rmtree(tmp_path)


# --- inference ---


@pytest.fixture
def in_this_group(monkeypatch):
    """Run a script's main in the processes of a group, which are threads here: what each returned."""

    def call(size, script, settings, words, timeout=30.0):
        own, given = threading.local(), parse(settings, args=list(map(str, words)))
        monkeypatch.setattr(script, "join_group", lambda: own.group)
        if getattr(given, "exp_dir", None):
            hold_folder(given.exp_dir)  # which of processes the first one does

        def work(group):
            own.group = group
            return script.main(given)

        return in_group(size, work, timeout)

    return call


def flags_of(photos, model_file, *flags):
    named = ["--data_path", photos, "--checkpoint_path", model_file, "--no_align", "--batch_size", 4, "--workers", 1]
    return [*named, *flags]


def check_translations(one, other):
    """Check that files, entries and order are equal, and floats up to the rounding of different batches."""
    assert contents(one).keys() == contents(other).keys()
    first, second = (json.loads((out / "manifest.json").read_text()) for out in (one, other))
    assert all(entry.pop("seconds") >= 0 for entry in (*first, *second))
    assert first == second
    with np.load(one / "latents.npz") as first, np.load(other / "latents.npz") as second:
        np.testing.assert_array_equal(first["names"], second["names"])
        np.testing.assert_allclose(first["w_plus"], second["w_plus"], rtol=0, atol=1e-5)
    for path in (path for path in one.rglob("*") if path.suffix in (".png", ".jpg")):
        pair = [images.read_image(out / path.relative_to(one)).astype(int) for out in (one, other)]
        assert np.abs(pair[0] - pair[1]).max() <= (1 if path.suffix == ".png" else 8), path  # a sheet is a JPEG


def test_a_group_translates_as_one_process_does(in_this_group, photos, model_file, tmp_path):
    source = shutil.copytree(photos, tmp_path / "in")
    for number in range(30):
        shutil.copy(source / f"{number % 20:04d}.png", source / f"more{number}.png")
    (source / "0005.png").write_bytes(b"no picture")
    flags = flags_of(source, model_file, "--exp_dir")
    assert in_this_group(1, inference, inference.Inference, [*flags, tmp_path / "one"]) == [1]
    assert in_this_group(3, inference, inference.Inference, [*flags, tmp_path / "three"]) == [1, 0, 0]
    assert len(list((tmp_path / "one").glob("contact_sheet*"))) == 2
    check_translations(tmp_path / "one", tmp_path / "three")


def test_an_interrupted_inference_goes_on(in_this_group, photos, model_file, tmp_path, monkeypatch, capsys):
    """Also after other settings were tried; a photo that has changed since is translated again."""
    source = shutil.copytree(photos, tmp_path / "in")
    out, written = tmp_path / "out", []

    def translate(until=None, *flags):
        """Return the pictures that a run writes before it is interrupted after some of them."""
        del written[:]

        def write(path, array):
            written.append(path.name)
            if len(written) - 1 == until:
                raise KeyboardInterrupt
            write_image(path, array)

        monkeypatch.setattr(images, "write_image", write)
        words = [*flags_of(source, model_file, "--no_couple_outputs"), "--exp_dir", out, *flags]
        return in_this_group(1, inference, inference.Inference, words)

    write_image = images.write_image
    with pytest.raises(KeyboardInterrupt):
        translate(10)
    assert json.loads((out / "manifest.json").read_text())[9]["file"] == "0009.png"
    changed = Image.open(source / "0002.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    changed.save(source / "0002.png")
    (out / "inference_results" / "0004.png").unlink()
    capsys.readouterr()
    assert translate() == [0]
    assert "8 of 23 photos are translated already" in capsys.readouterr().out
    assert len([name for name in written if name.endswith(".png")]) == 23 - 8
    assert not (out / ".parts").exists()
    monkeypatch.undo()
    one = [*flags_of(source, model_file, "--no_couple_outputs"), "--exp_dir", tmp_path / "one"]
    in_this_group(1, inference, inference.Inference, one)
    check_translations(tmp_path / "one", out)


def test_records_of_other_settings_do_not_count(in_this_group, photos, model_file, tmp_path, monkeypatch):
    out = tmp_path / "out"
    words = [*flags_of(photos, model_file), "--exp_dir", out]

    def full(*_):
        raise UserError("the disk is full")

    with monkeypatch.context() as patched, pytest.raises(UserError):
        patched.setattr("psp.inference.translated_folder.Sheets.finish", full)
        in_this_group(1, inference, inference.Inference, words)
    (part,) = (out / ".parts").iterdir()
    assert in_this_group(1, inference, inference.Inference, [*words, "--seed", 1, "--overwrite"]) == [0]
    assert not part.exists()


@NEEDS_PROC
@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_a_killed_inference_goes_on(tmp_path, model_file, size):
    photos = write_photos(tmp_path / "in", 160, (64, 64))
    flags, out = flags_of(photos, model_file), tmp_path / "out"
    launcher = torchrun(size, "inference.py", *flags, "--exp_dir", out)
    results = out / "inference_results"
    assert kill_one(launcher, lambda: results.is_dir() and len(list(results.glob("*.png"))) > 20) == size
    assert finish(launcher)[0] != 0
    before = len(list(results.glob("*.png")))
    assert 20 < before < 160
    code, printed = finish(torchrun(size, "inference.py", *flags, "--exp_dir", out))
    assert code == 0, printed
    (line,) = (line for line in printed.splitlines() if "translated already" in line)
    assert before - 2 * size <= int(line.split()[0]) <= before  # pictures are written before their record is
    assert "160 of 160 files gave 160 images" in printed
    run_alone(inference, inference.Inference, *flags, "--exp_dir", tmp_path / "one")
    check_translations(tmp_path / "one", out)
    shutil.rmtree(tmp_path)


# --- preparation ---


def test_a_group_prepares_as_one_process_does(in_this_group, photos, tmp_path):
    """The archives are equal byte for byte: duplicates, classes, padding, and what is left out."""
    source = shutil.copytree(photos, tmp_path / "in" / "x")
    shutil.copy(source / "0003.png", source / "same.png")
    shutil.copytree(photos, tmp_path / "in" / "y")
    write_photos(tmp_path / "in" / "z", 3, (9, 9))
    made = {
        "photos": ["--data_path", tmp_path / "in", "--labels", "folders", "--workers", 1],
        "padded": ["--data_path", source, "--crop", "pad", "--workers", 1],
    }
    for name, words in made.items():
        for size in (1, 3):
            out = tmp_path / f"{name}{size}.zip"
            codes = in_this_group(size, prepare_data, prepare_data.PrepareData, [*words, "--out", out, *SIZE])
            assert codes == [1] + [0] * (size - 1)
        assert (tmp_path / f"{name}1.zip").read_bytes() == (tmp_path / f"{name}3.zip").read_bytes()
    lists = [(tmp_path / f"photos{size}.left_out.txt").read_text() for size in (1, 3)]
    assert lists[0] == lists[1]
    assert lists[0].count("duplicate") == 24
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


SIZE = ["--resolution", 16]


def test_a_group_renders_as_one_process_does(tmp_path):
    faces, one, three = SyntheticFaces(32, length=9), tmp_path / "one.zip", tmp_path / "three.zip"
    prepare_faces(faces, one, 0)
    outcomes = in_group(3, lambda group: prepare_faces(faces, three, 0, group))
    assert [len(outcome.kept) if outcome else None for outcome in outcomes] == [9, None, None]
    assert one.read_bytes() == three.read_bytes()


@NEEDS_PROC
@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_a_killed_preparation_goes_on(tmp_path, size):
    photos, out = write_photos(tmp_path / "in", 300), tmp_path / "out.zip"
    flags = ["--data_path", photos, "--resolution", 64, "--workers", 1, "--out"]
    launcher = torchrun(size, "prepare_data.py", *flags, out)

    def count():
        """Return the number of recorded pictures."""
        return sum(len(path.read_bytes().splitlines()) for path in tmp_path.glob(".out.zip.parts/*/*.jsonl"))

    assert kill_one(launcher, lambda: count() > 40) == size
    assert finish(launcher)[0] != 0
    before = count()
    assert 40 < before < 300
    assert not out.exists()
    code, printed = finish(torchrun(size, "prepare_data.py", *flags, out))
    assert code == 0, printed
    assert f"{before} of 300 images are prepared already" in printed
    run_alone(prepare_data, prepare_data.PrepareData, *flags, tmp_path / "one.zip")
    assert out.read_bytes() == (tmp_path / "one.zip").read_bytes()
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    shutil.rmtree(tmp_path)


# --- evaluation ---


def figures(out):
    """Read metrics.json without the seconds, which differ between runs."""
    text = (out / "metrics.json").read_text()
    return json.loads(text, object_hook=lambda entry: {k: v for k, v in entry.items() if k != "seconds_per_image"})


def stored_values(out):
    """{file: {metric: values}} without the seconds."""
    entries = {}
    for path in sorted((out / "per_image").rglob("*.npz")):
        with np.load(path) as file:
            about = {name: file[name] for name in file.files if name != "value/seconds_per_image"}
        entries[path.relative_to(out).as_posix()] = about
    return entries


def evaluation(photos, model, out):
    named = ["--data", photos, "--checkpoint_path", model, "--exp_dir", out, "--num_images", 3, "--batch_size", 2]
    networks = ["--perceptual", "effnet", "--identity", "dlib", "--device", "cpu", "--n_outputs", 2]
    return [*named, *networks]


@pytest.fixture(scope="module")
def task_model(tmp_path_factory, build_model):
    """Provide a model of a task that is evaluated in groups, and for its diversity."""
    path = tmp_path_factory.mktemp("model") / "task.safetensors"
    psp.save_model(path, build_model(), {"task": "super_resolution"})
    return path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Identity is measured on 32 px")
def test_a_group_measures_as_one_process_does(in_this_group, photos, task_model, tmp_path, monkeypatch):
    one, out = tmp_path / "one", tmp_path / "three"
    in_this_group(1, evaluate, evaluate.Evaluate, evaluation(photos, task_model, one))
    in_this_group(3, evaluate, evaluate.Evaluate, evaluation(photos, task_model, out))
    assert figures(one) == figures(out)
    assert "diversity" in figures(out)
    first, second = stored_values(one), stored_values(out)
    assert first.keys() == second.keys()
    for name, about in first.items():
        for metric, values in about.items():
            np.testing.assert_array_equal(values, second[name][metric], err_msg=f"{name}: {metric}")
    assert (one / "comparison.png").read_bytes() == (out / "comparison.png").read_bytes()
    assert not list(out.rglob("*.parts"))


@NEEDS_PROC
@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_a_killed_evaluation_goes_on(photos, task_model, tmp_path, size):
    out = tmp_path / "out"
    launcher = torchrun(size, "evaluate.py", *evaluation(photos, task_model, out))
    assert kill_one(launcher, lambda: any(out.rglob("*.bin"))) == size
    assert finish(launcher)[0] != 0
    assert not (out / "metrics.json").exists()
    code, printed = finish(torchrun(size, "evaluate.py", *evaluation(photos, task_model, out)))
    assert code == 0, printed
    run_alone(evaluate, evaluate.Evaluate, *evaluation(photos, task_model, tmp_path / "one"))
    assert figures(out) == figures(tmp_path / "one")
    shutil.rmtree(tmp_path)
