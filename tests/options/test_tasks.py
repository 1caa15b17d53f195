"""The fields of a task's dataclass are its flags, in training and in inference."""

import importlib
import sys

import pytest

from datasets.tasks import TASKS, build_task
from options.parse import parse
from options.registered import read_parts
from options.source import read_source
from options.tasks import given_settings, task_settings
from scripts.inference import Inference
from scripts.train_psp import TrainPSp
from stylegan2.runtime.errors import UserError

BLUR = '''
from dataclasses import dataclass

from datasets.tasks import Task, register_task


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
'''


@pytest.fixture
def more_tasks(monkeypatch, tmp_path):
    """Provide the name of a package with one task, which is registered for one test."""
    (tmp_path / "more_tasks").mkdir()
    (tmp_path / "more_tasks" / "__init__.py").touch()
    (tmp_path / "more_tasks" / "blur.py").write_text(BLUR)
    monkeypatch.syspath_prepend(tmp_path)
    TASKS.names()
    monkeypatch.setattr(TASKS, "_builders", dict(TASKS._builders))
    read_parts.cache_clear()
    importlib.import_module("more_tasks.blur")
    yield "more_tasks"
    for name in ("more_tasks", "more_tasks.blur"):
        del sys.modules[name]
    read_parts.cache_clear()
    read_source.cache_clear()


def given(package, purpose, *args):
    return given_settings(parse(task_settings(purpose, package), args=list(args)), purpose, package)


def trained(*args):
    return given_settings(parse(TrainPSp, args=list(args)).task_settings, "training")


def test_what_is_given_is_of_the_types_of_the_fields():
    assert trained() == {}
    assert trained("--resize_factors", "1,2", "--mask_kinds=halves,strokes", "--label-nc", "5") == {
        "resize_factors": (1, 2),
        "mask_kinds": ("halves", "strokes"),
        "label_nc": 5,
    }
    with pytest.raises(UserError, match="--resize_factors must be whole numbers separated by commas, not '1,x'"):
        trained("--resize_factors", "1,x")


def test_inference_asks_for_its_own():
    o = parse(
        Inference,
        args=["--data", "a", "--exp_dir", "b", "--mask_data", "m.png", "--paste_known", "--resize_factors", "8"],
    )
    settings = given_settings(o.task_settings, "inference")
    assert settings == {"mask_data": "m.png", "paste_known": True, "resize_factor": 8}
    with pytest.raises(UserError, match="no option --label_nc"):
        parse(Inference, args=["--data", "a", "--exp_dir", "b", "--label_nc", "3"])


@pytest.mark.parametrize("purpose", ["training", "inference"])
def test_a_new_task_has_flags(purpose, more_tasks, capsys):
    settings = given(more_tasks, purpose, "--sigma", "0.3", "--radii", "3,4", "--no_mirrored")
    assert settings == {"sigma": 0.3, "radii": (3, 4), "mirrored": False}
    assert given(more_tasks, purpose, "--mirrored") == {"mirrored": True}
    assert given(more_tasks, purpose, "--mirrored", "false") == {"mirrored": False}
    assert build_task("blur", **settings).config == {"sigma": 0.3, "radii": [3, 4], "mirrored": False}
    with pytest.raises(UserError, match="the task inversion has no setting mirrored, radii, sigma: it has none"):
        build_task("inversion", **settings)
    with pytest.raises(SystemExit):
        parse(task_settings(purpose, more_tasks), args=["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "blur: standard deviation in pixels (default: 1.0)" in text
    assert "(default: 1,2)" in text
