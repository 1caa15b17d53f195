"""psp export onnx, as a user runs it. The graphs: tests/psp/convert/test_onnx_export.py."""

from pathlib import Path

import pytest

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.mark.slow
def test_a_part_is_written_and_kept(script, model_file):
    code, out, err = script("export_onnx.py", model_file, "--out", "graphs", "--part", "generator")
    assert code == 0, err
    assert "graphs/generator.onnx: " in out
    assert "differs from PyTorch by" in out
    assert [path.name for path in Path("graphs").iterdir()] == ["generator.onnx"]
    session = onnxruntime.InferenceSession("graphs/generator.onnx")
    assert session.get_modelmeta().custom_metadata_map["part"] == "generator"
    content = Path("graphs/generator.onnx").read_bytes()
    code, _, err = script("export_onnx.py", model_file, "--out", "graphs")
    assert code == 2
    assert "'graphs/generator.onnx' exists already" in err
    assert Path("graphs/generator.onnx").read_bytes() == content


def test_mistakes_are_one_sentence(script, model_file):
    for arguments, words in (
        ((model_file, "--part", "mapping"), "has no mapping: choose one of all, encoder, generator, model"),
        (("nothing",), "there is no pSp model 'nothing'"),
        (("synthfaces64", "--part", "encoder"), "has no encoder: choose one of all, mapping, generator"),
    ):
        code, _, err = script("export_onnx.py", *arguments)
        assert code == 2
        assert words in err
        assert err.count("\n") == 1
