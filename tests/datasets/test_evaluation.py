"""Which segmenter measures what."""

import pytest

from datasets.evaluation import pick_segmenter
from datasets.tasks import build_task
from psp.perception.segmenter import DEFAULT, Segmenter, save_segmenter


def test_the_shipped_segmenter_measures_procedural_faces_alone(capsys):
    task = build_task("segmentation")
    assert pick_segmenter(None, task, synthetic=True).name == DEFAULT
    assert pick_segmenter(None, task, synthetic=False) is None
    assert pick_segmenter(None, build_task("segmentation", label_nc=5), synthetic=True) is None
    assert f"{DEFAULT} knows 19 labels and the model 5: mIoU is left out" in capsys.readouterr().out


@pytest.mark.parametrize("synthetic", [True, False])
def test_the_segmenter_of_the_user_measures_anything(tmp_path, synthetic):
    save_segmenter(tmp_path / "mine.safetensors", Segmenter(5, 16, (4, 4)), {})
    path = str(tmp_path / "mine.safetensors")
    assert pick_segmenter(path, build_task("segmentation", label_nc=5), synthetic).name == "mine"
    assert pick_segmenter(path, build_task("sketch"), synthetic) is None
