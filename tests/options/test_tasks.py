"""The fields of a task's dataclass are its flags, in training and in inference."""

from dataclasses import dataclass

import pytest

from datasets.tasks import TASKS, Task, build_task, register_task
from options.parse import parse
from options.tasks import given_settings, task_settings
from scripts.inference import Inference
from scripts.train_psp import TrainPSp
from stylegan2.runtime.errors import UserError


@pytest.fixture
def _blur(monkeypatch):
    """Register a task with settings for one test."""
    TASKS.names()
    monkeypatch.setattr(TASKS, "_builders", dict(TASKS._builders))

    @register_task("blur")
    @dataclass(frozen=True)
    class Blur(Task):
        """Sharpen blurred photos."""

        sigma: float = 1.0
        """standard deviation in pixels"""
        radii: tuple[int, ...] = (1, 2)
        """of the kernels"""
        mirrored: bool = True
        """mirror half of them"""


def given(purpose, *args):
    return given_settings(TASKS, parse(task_settings(TASKS, purpose), args=list(args)), purpose)


def trained(*args):
    return given_settings(TASKS, parse(TrainPSp, args=list(args)).task_settings, "training")


def test_what_is_given_is_of_the_types_of_the_fields():
    assert trained() == {}
    assert trained("--resize_factors", "1,2", "--mask_kinds=halves,strokes", "--label-nc", "5") == {
        "resize_factors": (1, 2),
        "mask_kinds": ("halves", "strokes"),
        "label_nc": 5,
    }
    with pytest.raises(UserError, match="--resize_factors are whole numbers with commas between them, not '1,x'"):
        trained("--resize_factors", "1,x")


def test_inference_asks_for_its_own():
    o = parse(
        Inference,
        args=["--data", "a", "--exp_dir", "b", "--mask_data", "m.png", "--paste_known", "--resize_factors", "8"],
    )
    found = given_settings(TASKS, o.task_settings, "inference")
    assert found == {"mask_data": "m.png", "paste_known": True, "resize_factor": 8}
    with pytest.raises(UserError, match="no option --label_nc"):
        parse(Inference, args=["--data", "a", "--exp_dir", "b", "--label_nc", "3"])


@pytest.mark.usefixtures("_blur")
@pytest.mark.parametrize("purpose", ["training", "inference"])
def test_a_new_task_has_flags(purpose, capsys):
    found = given(purpose, "--sigma", "0.3", "--radii", "3,4", "--no_mirrored")
    assert found == {"sigma": 0.3, "radii": (3, 4), "mirrored": False}
    assert given(purpose, "--mirrored") == {"mirrored": True}
    assert given(purpose, "--mirrored", "false") == {"mirrored": False}
    assert build_task("blur", **found).config == {"sigma": 0.3, "radii": [3, 4], "mirrored": False}
    with pytest.raises(UserError, match="the task inversion has no setting mirrored, radii, sigma: it has none"):
        build_task("inversion", **found)
    with pytest.raises(SystemExit):
        parse(task_settings(TASKS, purpose), args=["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "blur: standard deviation in pixels (default: 1.0)" in text
    assert "(default: 1,2)" in text
