"""The forms of the pSp benchmark compute the same, and its table shows their times."""

import json

import pytest

from benchmarks import psp
from tests.forks import PROGRAMS


@pytest.mark.slow
def test_a_case_is_measured_and_written(tmp_path):
    flags = ["--cases", "light_inference", "--malloc", "tuned", "--repetitions", "1", "--out", "out.json"]
    done = PROGRAMS.run([psp.__file__, *flags], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out.json").read_text())["light_inference tuned"]
    for form in psp.FORMS["inference"]:
        assert {f"{form} encoder", f"{form} generator"} <= report["figures"].keys()
        assert f"| {form} | all |" in done.stdout
    assert all(figure["seconds"] >= figure["fastest"] > 0 for figure in report["figures"].values())
    assert "1.00x (fastest 1.00x) the speed of depthwise" in done.stdout
    assert report["differences"]["depthwise"] < 0.01
    assert report["differences"]["ours"] < 0.01
    assert 0.01 < report["differences"]["bf16"] < 2
