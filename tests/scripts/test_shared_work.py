"""Several processes share the work of a command: its results are those of one, also where a process was killed."""

import json
import shutil
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from psp.inference.aligned import PARTS, Aligner, Given, align_folder, summarize
from stylegan2.runtime.errors import UserError
from tests.groups import finish, in_group, kill_one, torchrun

FIVE = np.array([[90.0, 105.0], [120.0, 102.0], [106.0, 120.0], [95.0, 135.0], [118.0, 134.0]])
NEEDS_PROC = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes to kill in /proc")


def write_photos(folder, count, size=(210, 240)):
    """Photos without faces, all different."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = Image.fromarray(rng.integers(0, 255, (8, 7, 3), dtype=np.uint8))
        pixels.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:04d}.png", compress_level=1)
    return folder


def contents(folder):
    """{name: bytes} of what a run left, but for what says when and how it ran."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "config.yaml"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def differing(one, other):
    """The names of files in which two folders differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


# --- alignment ---


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos") / "in", 23)


def align(photos, out, group=None, wrong=("0007.png",)):
    """Align photos but one by landmarks that are given."""
    files = sorted(photos.iterdir())
    given = {file.name: [FIVE + (10_000 if file.name in wrong else n)] for n, file in enumerate(files)}
    return align_folder(files, Aligner(photos, 32, Given(given)), out, 2, group)


def test_a_group_aligns_as_one_process_does(photos, tmp_path):
    one = align(photos, tmp_path / "one")
    found = in_group(4, lambda group: align(photos, tmp_path / "four", group))
    assert found[1:] == [None] * 3
    assert found[0] == one
    assert one.failures == ["bad_landmarks: 0007.png: the face lies outside of the picture"]
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
    """The others do the rest, and a further run what the lost one had taken."""
    files, out = sorted(photos.iterdir()), tmp_path / "out"
    given = Given({file.name: [FIVE + n] for n, file in enumerate(files)})

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
    assert align_folder(files, Aligner(photos, 32, given), out, 1).missing == 0
    assert f"{23 - summary.missing} of 23 photos are aligned already" in capsys.readouterr().out
    align_folder(files, Aligner(photos, 32, given), tmp_path / "one", 1)
    assert differing(contents(tmp_path / "one"), contents(out)) == []


@NEEDS_PROC
@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_a_killed_alignment_goes_on(tmp_path, size):
    photos = write_photos(tmp_path / "in", 400)
    landmarks = tmp_path / "given.json"
    landmarks.write_text(json.dumps({path.name: (FIVE + n % 50).tolist() for n, path in enumerate(photos.iterdir())}))
    flags = ["--data_path", photos, "--landmarks", landmarks, "--output_size", 64, "--workers", 1]
    out = tmp_path / "out"
    launcher = torchrun(size, "align_faces.py", *flags, "--exp_dir", out)
    assert kill_one(launcher, lambda: len(list(out.glob("*.png"))) > 20) == size
    code, _ = finish(launcher)
    assert code != 0
    before = len(list(out.glob("*.png")))
    assert 20 < before < 400
    code, printed = finish(torchrun(size, "align_faces.py", *flags, "--exp_dir", out))
    assert code == 0, printed
    (line,) = (line for line in printed.splitlines() if "aligned already" in line)
    assert before - 2 * size <= int(line.split()[0]) <= before  # a picture was written before its entry is
    assert "400 of 400 photos gave 400 aligned faces" in printed
    assert not (out / PARTS).exists()
    code, printed = finish(torchrun(1, "align_faces.py", *flags, "--exp_dir", tmp_path / "one"))
    assert code == 0, printed
    assert differing(contents(tmp_path / "one"), contents(out)) == []
    shutil.rmtree(tmp_path)
